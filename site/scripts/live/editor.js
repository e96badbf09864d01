// The editor of a live cell: CodeMirror, in the colors that the page's code has.

import {
  acceptCompletion,
  autocompletion,
  closeBrackets,
  closeBracketsKeymap,
  completionKeymap,
} from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  LanguageSupport,
  bracketMatching,
  indentOnInput,
  indentUnit,
  syntaxHighlighting,
} from "@codemirror/language";
import { pythonLanguage } from "@codemirror/lang-python";
import { EditorState } from "@codemirror/state";
import { EditorView, highlightSpecialChars, keymap, tooltips } from "@codemirror/view";
import { tagHighlighter, tags } from "@lezer/highlight";

// The names of Pygments, for which the theme has colors with enough contrast, light and dark.
const colors = tagHighlighter([
  { tag: tags.comment, class: "c1" },
  { tag: tags.keyword, class: "k" },
  { tag: tags.operatorKeyword, class: "ow" },
  { tag: [tags.bool, tags.null], class: "kc" },
  { tag: tags.moduleKeyword, class: "kn" },
  { tag: tags.string, class: "s2" },
  { tag: tags.number, class: "mi" },
  { tag: tags.operator, class: "o" },
  { tag: tags.function(tags.definition(tags.variableName)), class: "nf" },
  { tag: tags.definition(tags.className), class: "nc" },
]);

/**
 * @typedef {object} Reply - the kernel's, to how code may go on
 * @property {string} status
 * @property {string[]} matches
 * @property {number} cursor_start
 * @property {{ _jupyter_types_experimental?: { type: string }[] }} [metadata]
 *
 * @typedef {object} Wishes
 * @property {string} label what a screen reader calls the editor
 * @property {string} help id of the text on its keys
 * @property {(code: string) => void} change
 * @property {() => void} run
 * @property {() => void} runAndGoOn
 * @property {(code: string, place: number) => Promise<Reply | null>} complete
 */

/**
 * Make an editor.
 * @param {HTMLElement} parent
 * @param {string} code
 * @param {Wishes} wishes
 */
export function edit(parent, code, wishes) {
  const call = (/** @type {() => void} */ what) => () => {
    what();
    return true;
  };

  /** @param {import("@codemirror/autocomplete").CompletionContext} context */
  async function suggest(context) {
    if (!context.explicit && !context.matchBefore(/[\w\]).]\.\w*$/)) return null;
    const text = context.state.doc.toString();
    // The kernel counts characters, the editor UTF-16 units.
    const reply = await wishes.complete(text, [...text.slice(0, context.pos)].length);
    if (reply?.status !== "ok" || context.aborted) return null;
    const from = [...text].slice(0, reply.cursor_start).join("").length;
    const types = reply.metadata?._jupyter_types_experimental ?? [];
    const options = reply.matches.map((label, n) => ({ label, detail: types[n]?.type }));
    return { from, options, validFor: /^\w*$/ };
  }

  return new EditorView({
    parent,
    state: EditorState.create({
      doc: code,
      extensions: [
        new LanguageSupport(pythonLanguage),
        syntaxHighlighting(colors),
        highlightSpecialChars(),
        history(),
        indentUnit.of("    "),
        indentOnInput(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ override: [suggest], icons: false }),
        tooltips({ parent: document.body }), // cells and exercises cut off what sticks out of them
        EditorState.allowMultipleSelections.of(false),
        EditorView.contentAttributes.of({
          "aria-label": wishes.label,
          "aria-describedby": wishes.help,
          autocapitalize: "off",
          spellcheck: "false",
        }),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          update.view.setTabFocusMode(false);
          wishes.change(update.state.doc.toString());
        }),
        // Tab indents; after Escape it leaves the editor, until the reader types or comes back.
        EditorView.domEventHandlers({ focus: (_, view) => view.setTabFocusMode(false) }),
        keymap.of([
          { key: "Shift-Enter", run: call(wishes.runAndGoOn) },
          { key: "Mod-Enter", run: call(wishes.run) },
          { key: "Tab", run: acceptCompletion },
          ...completionKeymap,
          {
            key: "Escape",
            run: (view) => {
              view.setTabFocusMode(true);
              return true;
            },
          },
          indentWithTab,
          ...closeBracketsKeymap,
          ...historyKeymap,
          ...defaultKeymap,
        ]),
      ],
    }),
  });
}
