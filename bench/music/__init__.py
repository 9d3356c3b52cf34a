"""Notes, MIDI files, and the classes that the shipped models share."""
