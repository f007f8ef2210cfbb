// Draws what Python shows and sends back keys and buttons; all text is set as text, never as markup.
const STYLE = `.rv{font:15px/1.5 system-ui,sans-serif;max-width:780px;padding:16px;border:1px solid #8a93a0;border-radius:10px}
.rv:focus-visible,.rv :focus-visible{outline:3px solid #245fa3;outline-offset:2px}.rv h3{margin:4px 0}.rv .soft{opacity:.85}
.rv button,.rv input,.rv select,.rv textarea{font:inherit;padding:4px 8px;margin:2px 6px 2px 0;max-width:100%}
.rv ul{padding:0;list-style:none;max-height:300px;overflow:auto}.rv li{border-top:1px solid #8a93a0;padding:6px 0;overflow-wrap:anywhere}
.rv .said{min-height:1.5em;font-weight:600}.rv label{margin-right:10px}.rv pre{white-space:pre-wrap;font:inherit}`;
function node(tag, cells = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), cells);
  made.append(...inside);
  return made;
}
const field = (name, input) => node("label", {}, name + " ", input);
const choice = (pairs) => node("select", {}, ...pairs.map(([value, text]) => node("option", { value, textContent: text })));
function render({ model, el }) {
  const who = node("input", { autocomplete: "off" }), note = node("input", { size: 40 });
  const said = node("p", { className: "said" }), body = node("div");
  said.setAttribute("role", "status");
  const root = node("section", { className: "rv", tabIndex: 0 }, node("style", { textContent: STYLE }),
    field("Your name", who), said, body, field("Note", note));
  root.setAttribute("aria-label", "Review of incidents");
  root.dataset.lmSuppressShortcuts = "true";
  const send = (what, value) => model.send({ do: what, id: model.get("shown").id, who: who.value, note: note.value, value });
  const button = (text, key, act) => node("button", { type: "button", textContent: key ? `${text} (${key})` : text, onclick: act });
  let keys = {}, last = "";
  function draw() {
    const s = model.get("shown"), now = JSON.stringify({ ...s, said: "" }), held = body.contains(document.activeElement);
    said.textContent = s.said;
    if (now === last) return; // only the message is new, and what was typed stays
    last = now;
    body.replaceChildren();
    if (!s.title && !s.posts) return;
    const ticks = s.posts.map(([id, text, at]) => [id, node("input", { type: "checkbox" }), node("span", { dir: "auto", textContent: text }), at]);
    const title = node("input", { value: s.title, size: 40 }), city = node("input", { value: s.city }),
      state = node("input", { value: s.state, size: 3 }), date = node("input", { type: "date", value: s.date }), rank = choice(s.ranks),
      is = choice([["", "not said"], ...s.labels]), near = choice(s.near);
    rank.value = s.rank;
    const edited = () => Object.fromEntries([["title", title.value, s.title], ["city", city.value, s.city], ["state", state.value, s.state],
      ["date", date.value, s.date], ["rank", +rank.value, s.rank]].filter(([, now, was]) => now !== was).map(([name, now]) => [name, now]));
    keys = { a: () => send("approve"), r: () => send("reject", is.value === "" ? {} : { label: +is.value }), u: () => s.number && send("undo", { number: s.number }),
      n: () => send("next"), b: () => send("back") };
    body.append(node("p", { className: "soft", textContent: `${s.place} · ${s.status}${s.review ? " · " + s.review : ""}` }),
      node("h3", { dir: "auto", textContent: s.title }),
      node("p", { className: "soft", textContent: s.factors.map(([name, value]) => `${name.replace("_", " ")} ${value}`).join(" · ") }),
      node("ul", {}, ...ticks.map(([id, box, text, at]) => node("li", {}, node("label", {}, box, text), node("div", { className: "soft", textContent: `${at} · ${id}` })))),
      node("p", {}, button("Approve", "a", keys.a), button("Reject", "r", keys.r), field("it is rather", is), button("Next", "n", keys.n), button("Back", "b", keys.b),
        button(s.undo.length ? `Undo ${s.undo[0]}` : "Undo", "u", keys.u), button("Only note", "", () => send("note"))),
      node("details", {}, node("summary", { textContent: "Edit, merge, split" }),
        node("p", {}, field("Title", title), field("City", city), field("State", state), field("Date", date), field("Rank", rank), button("Save", "", () => send("edit", edited()))),
        node("p", {}, field("The same as", near), button("Merge", "", () => send("merge", { with: [near.value] }))),
        node("p", {}, button("Split the ticked posts off", "", () => send("split", { posts: ticks.filter(([, box]) => box.checked).map(([id]) => id) })))));
    if (s.question) body.append(node("details", {}, node("summary", { textContent: "A question to the author, to copy and send yourself" }), node("pre", { textContent: s.question })));
    if (held) root.focus();
    note.value = "";
  }
  root.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  model.on("change:shown", draw);
  draw();
  el.append(root);
}
export default { render };
