// Plays pairs of clips, takes answers, keeps them in this browser, and saves them as a file. Nothing is sent.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const SIDES = ["left", "right"];
const ANSWERS = ["left", "tie", "right"];
// Seconds of what follows the prompt that must be heard before an answer.
const LEAST = 3;
const place = "bench-listening-" + data.test;
const get = (id) => document.getElementById(id);

// The revision counts changes: of two tabs, and of two files of one listener, the higher one has the later answers.
let state = restored() || fresh();
let shown = -1;
let heard = {};
// Whether this browser keeps nothing, as of blocked site data.
let forgetful = false;
const players = {};

for (const side of SIDES) {
  const player = (players[side] = new Audio());
  player.preload = "auto";
  player.addEventListener("timeupdate", () => moved(side));
  player.addEventListener("ended", () => moved(side));
  player.addEventListener("playing", () => pressed());
  player.addEventListener("pause", () => pressed());
  player.addEventListener("error", () => complain("A clip can't be played: this browser lacks MP3."));
  get("play-" + side).addEventListener("click", () => toggle(side));
}
for (const button of document.querySelectorAll("[data-answer]")) button.addEventListener("click", () => answer(button.dataset.answer));
get("start").addEventListener("click", () => {
  const number = get("number");
  if (behind() || !number.reportValidity()) return;
  // Listeners in a row get forms in a row, which are balanced; without a number it is chance.
  if (!answered() && number.value) {
    state = { ...fresh((number.value - 1) % data.forms.length), revision: state.revision };
    keep();
  }
  show(Math.max(0, state.answers.indexOf(null)));
});
get("number").addEventListener("keydown", (event) => {
  if (event.key === "Enter") get("start").click();
});
get("back").addEventListener("click", () => show(shown - 1));
get("stop").addEventListener("click", () => {
  if (behind()) return;
  finish();
  get("save").click();
});
get("again").addEventListener("click", () => show(answered() < questions().length ? state.answers.indexOf(null) : questions().length - 1));
get("save").addEventListener("click", (event) => {
  if (behind()) return event.preventDefault();
  state.saved = true;
  keep();
  get("saved").textContent = "The file " + get("save").download + " is where this browser keeps its downloads.";
});
get("next").addEventListener("click", () => {
  if (behind()) return;
  // No page is told that a download was cancelled.
  const question = state.saved
    ? `Is the file ${fileName()} among your downloads? The answers are cleared in this browser.`
    : "The answers have not been saved as a file. Clear them all the same?";
  if (!window.confirm(question)) return;
  state = { ...fresh((state.form + 1) % data.forms.length), revision: state.revision };
  get("number").value = "";
  keep();
  enter("intro");
});
get("anew").addEventListener("click", () => get("next").click());
window.addEventListener("storage", () => behind());
document.addEventListener("keydown", (event) => {
  if (get("question").hidden || event.ctrlKey || event.altKey || event.metaKey) return;
  const act = {
    a: () => toggle("left"),
    b: () => toggle("right"),
    " ": () => stop(),
    arrowleft: () => answer("left"),
    arrowdown: () => answer("tie"),
    arrowright: () => answer("right"),
    backspace: () => show(shown - 1),
  }[event.key.toLowerCase()];
  // A space on a button presses it, as everywhere.
  if (!act || (event.key === " " && event.target.closest("button"))) return;
  event.preventDefault();
  if (!event.repeat) act();
});

window.addEventListener("beforeunload", (event) => {
  if (forgetful && answered() && !state.saved) event.preventDefault();
});

store("bench-listening-probe", "");
if (answered() === questions().length) finish();
else enter("intro");

function questions() {
  return data.forms[state.form];
}

function answered() {
  return state.answers.filter((given) => given !== null).length;
}

// Nothing answered yet, of a form; by default of any.
function fresh(form = crypto.getRandomValues(new Uint32Array(1))[0] % data.forms.length) {
  const listener = [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(16).padStart(8, "0")).join("");
  return { form, listener, answers: data.forms[form].map(() => null), saved: false, revision: 0 };
}

// What this browser keeps of an earlier visit; null if there is nothing, or it is no session of this test.
function restored() {
  try {
    const kept = JSON.parse(localStorage.getItem(place));
    const form = data.forms[kept.form];
    const valid = (given) => given === null || ANSWERS.includes(given);
    const answers = kept.answers.length === form.length && kept.answers.every(valid);
    return answers && /^[0-9a-f]{32}$/.test(kept.listener) && Number.isSafeInteger(kept.revision) && kept.revision >= 0 ? kept : null;
  } catch {
    return null;
  }
}

function keep() {
  state.revision += 1;
  store(place, JSON.stringify(state));
}

function store(where, text) {
  try {
    localStorage.setItem(where, text);
  } catch {
    forgetful = true;
    complain("This browser keeps nothing for this page: answer and save without closing it.");
  }
}

// Whether another tab of this page has changed the answers since; then this one takes them over, and overwrites nothing.
function behind() {
  const kept = restored();
  if (!kept || kept.revision <= state.revision) return false;
  state = kept;
  const next = state.answers.indexOf(null);
  if (answered() === 0) enter("intro");
  else if (next < 0 || !get("end").hidden) finish();
  else if (!get("question").hidden) show(next);
  else enter("intro");
  complain("This page is open in another tab, which has changed the answers; this tab now shows the same ones.");
  return true;
}

function complain(text) {
  get("trouble").textContent = text;
}

function enter(id) {
  stop();
  get("start").textContent = answered() ? "Continue" : "Start";
  get("kept").textContent = `Answered in this browser so far: ${answered()} of ${questions().length} pairs. Continue only if the answers are yours.`;
  get("numbered").hidden = answered() > 0;
  get("kept").hidden = get("other").hidden = answered() === 0;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== id;
}

function show(number) {
  if (number < 0) return;
  enter("question");
  shown = number;
  heard = {};
  const total = questions().length;
  get("heading").textContent = `Pair ${number + 1} of ${total}: which continuation is better?`;
  get("progress").max = total;
  get("progress").value = answered();
  get("back").disabled = number === 0;
  get("stop").disabled = answered() === 0;
  SIDES.forEach((side, i) => {
    const clip = data.clips[questions()[number][i]];
    players[side].src = "data:audio/mpeg;base64," + clip.audio;
    players[side].mark = clip.mark;
    heard[side] = state.answers[number] !== null; // who comes back has heard them
    moved(side);
  });
  pressed();
  get("heading").focus();
}

function toggle(side) {
  const player = players[side];
  if (!player.paused) return player.pause();
  stop();
  player.currentTime = 0;
  player.play().catch(() => complain("The clip could not be started; press Play once more."));
}

function stop() {
  for (const side of SIDES) players[side].pause();
}

// The bar of a side: the prompt's part, and where the player is; and whether enough was heard.
function moved(side) {
  const player = players[side];
  const total = player.duration || Infinity;
  const [lead, head] = get("play-" + side).parentElement.querySelectorAll(".bar span");
  lead.style.width = (100 * player.mark) / total + "%";
  head.style.width = (100 * player.currentTime) / total + "%";
  heard[side] ||= player.ended || player.currentTime >= Math.min(player.mark + LEAST, total);
  get("heard-" + side).textContent = heard[side] ? "heard" : "not heard yet";
  const ready = SIDES.every((each) => heard[each]);
  for (const button of document.querySelectorAll("[data-answer]")) button.disabled = !ready;
}

function pressed() {
  SIDES.forEach((side) => {
    const playing = !players[side].paused && !players[side].ended;
    get("play-" + side).textContent = (playing ? "Stop " : "Play ") + (side === "left" ? "A" : "B");
    get("play-" + side).setAttribute("aria-pressed", playing);
  });
  for (const button of document.querySelectorAll("[data-answer]"))
    button.setAttribute("aria-pressed", state.answers[shown] === button.dataset.answer);
}

function answer(given) {
  if (!SIDES.every((side) => heard[side]) || behind()) return;
  complain("");
  state.answers[shown] = given;
  state.saved = false;
  keep();
  const next = state.answers.indexOf(null, shown + 1);
  if (next >= 0) show(next);
  else if (state.answers.includes(null)) show(state.answers.indexOf(null));
  else finish();
}

function fileName() {
  return `votes-${data.test}-${state.listener.slice(0, 8)}.json`;
}

function finish() {
  enter("end");
  const total = questions().length;
  const complete = answered() === total;
  get("done").textContent = complete ? "Thank you: that was the last pair" : `${answered()} of ${total} pairs answered`;
  get("few").hidden = 2 * answered() >= total;
  get("again").textContent = complete ? "Back to the last pair" : "Continue";
  const { form, listener, answers, revision } = state;
  const votes = { bench_votes: data.version, test: data.test, form, listener, revision, answers };
  get("save").href = "data:application/json," + encodeURIComponent(JSON.stringify(votes) + "\n");
  get("save").download = fileName();
  get("saved").textContent = "";
  get("done").focus();
}
