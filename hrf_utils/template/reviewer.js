// Draws what Python shows and sends back keys and buttons; all text is set as text, never as markup.
function node(tag, cells = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), cells);
  made.append(...inside);
  return made;
}
const quiet = (text) => node("p", { className: "quiet", textContent: text });
const field = (name, input, wide = "") => node("label", { className: `field ${wide}` }, node("span", { textContent: name }), input);
const choice = (pairs) => node("select", {}, ...pairs.map(([value, text]) => node("option", { value, textContent: text })));
const fold = (name, ...inside) => node("details", {}, node("summary", { textContent: name }), ...inside);
const row = (name, ...inside) => node("div", { className: name }, ...inside);

function render({ model, el }) {
  const who = node("input", { autocomplete: "off" }), note = node("input"), body = node("div");
  const said = node("p", { className: "said", role: "status" });
  const root = node("section", { className: "hrf hrf-reviewer", tabIndex: 0, ariaLabel: "Review of incidents" },
    field("Your name", who), said, body);
  root.dataset.lmSuppressShortcuts = "true";
  let keys = {}, last = "";
  const send = (what, value) => model.send({ do: what, id: model.get("shown").id, who: who.value, note: note.value, value });

  function button(text, act, key, disabled = false) {
    if (key && !disabled) keys[key] = act;
    return node("button", { type: "button", onclick: act, disabled, ariaKeyShortcuts: key || null },
      ...(key ? [node("kbd", { textContent: key })] : []), text);
  }

  function draw() {
    const s = model.get("shown"), now = JSON.stringify({ ...s, said: "" }), held = body.contains(document.activeElement);
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
    const ticks = s.posts.map(([id, text, at]) => [id, node("input", { type: "checkbox" }), node("span", { dir: "auto", textContent: text }), at]);
    const title = node("input", { value: s.title }), city = node("input", { value: s.city }), state = node("input", { value: s.state }),
      date = node("input", { type: "date", value: s.date }), rank = choice(s.ranks), is = choice([["", "not said"], ...s.labels]), near = choice(s.near);
    rank.value = s.rank;
    const edited = () => Object.fromEntries([["title", title.value, s.title], ["city", city.value, s.city], ["state", state.value, s.state],
      ["date", date.value, s.date], ["rank", +rank.value, s.rank]].filter(([, now, was]) => now !== was).map(([name, now]) => [name, now]));
    const ticked = () => ticks.filter(([, box]) => box.checked).map(([id]) => id);
    body.append(node("h3", { dir: "auto", textContent: s.title }),
      quiet([s.place, s.status, s.review].filter(Boolean).join(" · ")),
      node("ul", { className: "posts" }, ...ticks.map(([id, box, text, at]) => node("li", {}, node("label", {}, box, text), quiet(`${at} · ${id}`)))),
      row("factors quiet", ...s.factors.map(([name, value]) => node("span", { textContent: `${name.replace("_", " ")} ${value}` }))),
      row("fields", field("Note, kept with the next step", note), field("If rejected, it is rather", is)),
      row("tools", button("Approve", () => send("approve"), "a"),
        button("Reject", () => send("reject", is.value === "" ? {} : { label: +is.value }), "r"),
        button("Next", () => send("next"), "n"), button("Back", () => send("back"), "b"),
        button(`Undo ${s.undo[0] || ""}`, () => send("undo", { number: s.number }), "u", !s.number), button("Only note", () => send("note"))),
      fold("Edit, merge, split",
        row("fields", field("Title", title, "wide"), field("City", city), field("State", state), field("Date", date), field("Rank", rank),
          button("Save", () => send("edit", edited()))),
        row("fields", field("The same as", near, "wide"), button("Merge", () => send("merge", { with: [near.value] }), "", !s.near.length)),
        button("Split the ticked posts off", () => send("split", { posts: ticked() }))));
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
