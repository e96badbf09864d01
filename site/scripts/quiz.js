// Quizzes answer: a button checks the choices, and the explanation of each choice taken is shown.
// Without this script the answers are read in the dropdown below the questions.

import { make, makeStatus, plainButton } from "./dom.js";

/** The explanation of a choice, without its ids: they stay with the original. */
const explain = (/** @type {HTMLInputElement} */ choice) => {
  const original = document.getElementById(choice.dataset.explanation ?? "");
  const copy = make("li", {}, ...(original?.cloneNode(true).childNodes ?? []));
  copy.querySelectorAll("[id]").forEach((element) => element.removeAttribute("id"));
  return copy;
};

const list = (/** @type {HTMLInputElement[]} */ choices) => make("ul", {}, ...choices.map(explain));

const isRight = (/** @type {HTMLInputElement} */ choice) => choice.dataset.right !== undefined;

/** What is said of the choices taken, without giving away the others. */
function verdict(
  /** @type {HTMLInputElement[]} */ choices,
  /** @type {HTMLInputElement[]} */ taken,
) {
  const wrong = taken.filter((choice) => !isRight(choice)).length;
  const missing = choices.filter(isRight).length - (taken.length - wrong);
  if (!wrong && !missing) return "Right.";
  if (taken[0].type === "radio") return "Not right.";
  if (!wrong) return "Right so far, but not all of it.";
  return missing ? "Some are wrong, and some are missing." : "All the right ones, but not only those.";
}

/** Makes one question answer. */
function start(/** @type {HTMLFieldSetElement} */ question) {
  const choices = [...question.querySelectorAll("input")];
  const button = plainButton("Check");
  // It is on the page before anything is said in it: only changes are read out.
  const feedback = makeStatus("div", "quiz-feedback");
  feedback.setAttribute("aria-live", "polite"); // for screen readers that do not know it of a status
  const others = make("div", { className: "quiz-others" });
  question.append(button, feedback, others);

  const forget = () => {
    button.textContent = "Check";
    feedback.replaceChildren();
    others.replaceChildren();
    for (const choice of choices) choice.parentElement?.removeAttribute("data-verdict");
    delete question.dataset.answered;
  };
  const check = () => {
    const taken = choices.filter((choice) => choice.checked);
    if (!taken.length) {
      feedback.replaceChildren(make("p", {}, "Choose an answer first."));
      return;
    }
    const said = verdict(choices, taken);
    const all = said === "Right.";
    for (const choice of taken) {
      choice.parentElement?.setAttribute("data-verdict", isRight(choice) ? "right" : "wrong");
    }
    feedback.replaceChildren(make("p", {}, said), list(taken));
    const rest = choices.filter((choice) => !choice.checked);
    if (all && rest.length) others.replaceChildren(make("p", {}, "And the others?"), list(rest));
    question.dataset.answered = all ? "right" : "wrong";
    button.textContent = "Try again";
  };
  // The one button keeps the focus, whatever it does.
  button.addEventListener("click", () => {
    if (question.dataset.answered === undefined) return check();
    forget();
    for (const choice of choices) choice.checked = false;
    feedback.replaceChildren(make("p", {}, "Choose again."));
  });
  question.addEventListener("change", forget);
}

addEventListener("DOMContentLoaded", () => {
  for (const question of document.querySelectorAll(".quiz-question")) {
    start(/** @type {HTMLFieldSetElement} */ (question));
  }
});
