// Draws what Python shows and sends back keys and buttons; all text is set as text, never as markup.
function node(tag, cells = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), cells);
  made.append(...inside);
  return made;
}
const words = (tag, textContent, cells = {}) => node(tag, { textContent, ...cells });
const quiet = (text) => words("p", text, { className: "quiet" });
const field = (name, input, wide = "") => node("label", { className: `field ${wide}` }, words("span", name), input);
const choice = (pairs) => node("select", {}, ...pairs.map(([value, text]) => words("option", text, { value })));
const fold = (name, ...inside) => node("details", {}, words("summary", name), ...inside);
const row = (name, ...inside) => node("div", { className: name }, ...inside);

function render({ model, el }) {
  const who = node("input", { autocomplete: "off" }), note = node("input"), body = node("div");
  const said = node("p", { className: "said", role: "status" });
  const root = node("section", { className: "hrf hrf-reviewer", tabIndex: 0, ariaLabel: "Review of incidents" },
    field("Your name", who), said, body);
  root.dataset.lmSuppressShortcuts = "true";
  let keys = {}, last = "";
  const send = (action, value) =>
    model.send({ do: action, id: model.get("shown").id, who: who.value, note: note.value, value });

  function button(text, act, key, disabled = false) {
    if (key && !disabled) keys[key] = act;
    return node("button", { type: "button", onclick: act, disabled, ariaKeyShortcuts: key || null },
      ...(key ? [words("kbd", key)] : []), text);
  }

  function draw() {
    const s = model.get("shown"), now = JSON.stringify({ ...s, said: "" });
    const held = body.contains(document.activeElement);
    said.textContent = s.said;
    if (now === last) return; // only the message is new, and what was typed stays
    last = now;
    keys = {};
    body.replaceChildren();
    note.value = "";
    if (s.posts) drawIncident(s);
    if (held) root.focus();
  }

  function drawIncident(s) {
    const ticks = s.posts.map(([id]) => node("input", { type: "checkbox", value: id }));
    const posts = s.posts.map(([id, text, at], k) => node("li", {},
      node("label", {}, ticks[k], words("span", text, { dir: "auto" })), quiet(`${at} · ${id}`)));
    const factors = s.factors.map(([name, value]) => words("span", `${name.replace("_", " ")} ${value}`));
    const is = choice([["", "not said"], ...s.labels]), near = choice(s.near);
    const cells = { title: node("input"), city: node("input"), state: node("input"),
      date: node("input", { type: "date" }), rank: choice(s.ranks) };
    for (const name in cells) cells[name].value = s[name];
    const edited = () => Object.fromEntries(Object.keys(cells).filter((name) => cells[name].value !== String(s[name]))
      .map((name) => [name, name === "rank" ? +cells.rank.value : cells[name].value]));
    body.append(words("h3", s.title, { dir: "auto" }),
      quiet([s.place, s.status, s.review].filter(Boolean).join(" · ")),
      node("ul", { className: "posts" }, ...posts), row("factors quiet", ...factors),
      row("fields", field("Note, kept with the next step", note), field("If rejected, it is rather", is)),
      row("tools", button("Approve", () => send("approve"), "a"),
        button("Reject", () => send("reject", is.value === "" ? {} : { label: +is.value }), "r"),
        button("Next", () => send("next"), "n"), button("Back", () => send("back"), "b"),
        button(`Undo ${s.undo[0] || ""}`, () => send("undo", { number: s.number }), "u", !s.number),
        button("Only note", () => send("note"))),
      fold("Edit, merge, split",
        row("fields", field("Title", cells.title, "wide"), field("City", cells.city), field("State", cells.state),
          field("Date", cells.date), field("Rank", cells.rank), button("Save", () => send("edit", edited()))),
        row("fields", field("The same as", near, "wide"),
          button("Merge", () => send("merge", { with: [near.value] }), "", !s.near.length)),
        button("Split the ticked posts off",
          () => send("split", { posts: ticks.filter((box) => box.checked).map((box) => box.value) }))));
    if (s.question) body.append(fold("A question to the author, to copy and send yourself",
      node("textarea", { readOnly: true, rows: 6, value: s.question, ariaLabel: "Question to the author" })));
  }

  root.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keys[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  });
  model.on("change:shown", draw);
  draw();
  el.append(root);
  return () => model.off("change:shown", draw);
}
export default { render };
