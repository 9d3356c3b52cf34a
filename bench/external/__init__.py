"""Systems that run elsewhere: prompts for them, and their MIDI as rows."""
