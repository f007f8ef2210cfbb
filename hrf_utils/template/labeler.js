// The face of hrf_utils.widget.Labeler. Whatever comes from a post is drawn by textContent, never as markup.
const KEYS = { s: "skip", u: "undo", "?": "unsure", n: "note" };
const PATIENCE = 8000; // milliseconds until a silent kernel is said to be silent

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function render({ model, el: place }) {
  const task = model.get("task"), unique = Math.random().toString(36).slice(2);
  let waiting = null, writing = false, drawn = null;

  const root = el("div", { class: "hrf hrf-labeler", tabindex: "0", role: "region", "aria-label": "Labelling",
    "data-lm-suppress-shortcuts": "true", onkeydown: pressed });
  const question = el("p", { class: "question" }, task.question), pace = el("p", { class: "pace" });
  const bar = el("div", { class: "bar", "aria-hidden": "true" }, el("i"));
  const text = el("div", { class: "text", dir: "auto" }), cut = el("p", { class: "cut" });
  const post = el("section", { class: "post", "aria-live": "polite", "aria-atomic": "true", "aria-label": "Post" }, text, cut);
  const note = el("textarea", { rows: "2", maxlength: "2000", id: `note-${unique}`, onkeydown: noting, onblur: keepNote });
  const noteBox = el("div", { class: "note" },
    el("label", { for: note.id }, "Note on this post (Escape closes and keeps it)"), note);
  const labels = el("div", { class: "labels", role: "group", "aria-label": "Labels" });
  const hint = el("div", { class: "hint" }), said = el("p", { class: "said", role: "status" });
  const tools = el("div", { class: "tools", role: "group", "aria-label": "Other keys" });
  const problem = el("p", { class: "problem", role: "alert" });
  const rest = el("div", { class: "rest", role: "status" });
  const asleep = el("p", { class: "asleep" }, "Click here, or Tab into this box, to use the keys.");

  task.labels.forEach((label, number) => {
    const about = `about-${unique}-${number}`;
    const show = () => explain(number), hide = () => explain(focused());
    labels.append(el("button", { type: "button", "aria-keyshortcuts": number < 10 ? String(number) : null,
      "aria-describedby": about, "data-number": number, onclick: () => send({ do: "label", label: number }),
      onmouseenter: show, onfocus: show, onmouseleave: hide, onblur: () => explain(null) },
      el("kbd", {}, String(number)), el("span", {}, label.name), el("i", { style: `background:${label.color}` })),
      el("span", { id: about, hidden: true }, label.definition));
  });
  const tool = {};
  for (const [key, name] of [["s", "Skip"], ["u", "Undo"], ["?", "Unsure"], ["n", "Note"]]) {
    tool[key] = el("button", { type: "button", "aria-keyshortcuts": key, onclick: () => act(KEYS[key]) },
      el("kbd", {}, key), name);
    tools.append(tool[key]);
  }

  function focused() {
    const number = root.contains(document.activeElement) && document.activeElement.dataset.number;
    return number === undefined || number === false ? null : Number(number);
  }

  function explain(number) {
    const list = el("ul");
    if (number === null) {
      for (const one of task.cases.filter((one) => typeof one.label === "string")) list.append(el("li", {}, `${one.case}: ${one.label}`));
      hint.replaceChildren(el("p", {}, "Point at a label, or Tab to it, to read what it means."), list);
    } else {
      const label = task.labels[number];
      for (const one of task.cases.filter((one) => one.label === number)) list.append(el("li", {}, one.case));
      for (const example of label.examples) list.append(el("li", { class: "example" }, `“${example}”`));
      hint.replaceChildren(el("p", {}, el("b", {}, `${number} ${label.name}. `), label.definition), list);
    }
    hint.classList.toggle("quiet", number === null);
  }

  function send(message) {
    if (waiting) return; // a key before the next post is there was not meant for it
    const state = model.get("state");
    waiting = setTimeout(() => {
      waiting = null;
      problem.textContent = "The kernel has not answered. What was saved before is kept; run this cell again, or try once more.";
      root.removeAttribute("aria-busy");
    }, PATIENCE);
    root.setAttribute("aria-busy", "true");
    model.send({ id: state.post && state.post.id, ...message });
  }

  function act(name) {
    const { post: now } = model.get("state");
    if (name === "undo") send({ do: "undo" });
    else if (!now) return;
    else if (name === "skip") send({ do: "skip" });
    else if (name === "unsure") send({ do: "remark", unsure: !now.unsure });
    else if (name === "note") { writing = true; noteBox.hidden = false; note.focus(); }
  }

  function keepNote() {
    const { post: now } = model.get("state");
    if (!writing) return;
    writing = false;
    noteBox.hidden = !note.value;
    if (now && note.value !== now.note) send({ do: "remark", note: note.value });
  }

  function noting(event) {
    if (event.key !== "Escape" && !(event.key === "Enter" && (event.ctrlKey || event.metaKey))) return;
    event.preventDefault();
    keepNote();
    root.focus();
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.key === "Enter" && event.target.closest("input, button")) { // JupyterLab has a use of its own for it
      event.preventDefault();
      if (!event.repeat) (event.target.closest("button") || root.querySelector(".begin")).click();
      return;
    }
    if (event.target.closest("textarea, input") || !model.get("state").pace) return;
    const number = /^[0-9]$/.test(event.key) && Number(event.key) < task.labels.length ? Number(event.key) : null;
    const name = KEYS[event.key.toLowerCase()];
    if (number === null && !name) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat) return;
    if (number === null) act(name);
    else if (model.get("state").post) send({ do: "label", label: number });
  }

  function welcome(state) {
    const name = el("input", { type: "text", id: `name-${unique}`, maxlength: "60", autocomplete: "off", required: true });
    name.value = state.name;
    const begin = (event) => { event.preventDefault(); send({ do: "begin", name: name.value }); };
    root.replaceChildren(question, el("form", { class: "welcome", onsubmit: begin },
      el("p", {}, el("b", {}, "Before you begin. "), "These posts are what people wrote. Some tell of violence, injury " +
        "and death, some insult or threaten. Skip any post with s, and stop whenever you like: every key is saved at once."),
      el("p", {}, el("label", { for: name.id }, "Your name, or a made-up one, as it will stand beside your labels"), name),
      el("p", {}, el("button", { type: "submit", class: "begin" }, "I have read this, begin"))), problem);
  }

  function draw() {
    const state = model.get("state"), now = state.post, counts = state.pace;
    clearTimeout(waiting);
    waiting = null;
    root.removeAttribute("aria-busy");
    problem.textContent = state.problem;
    if (!counts) return welcome(state);
    if (!root.contains(post)) {
      const began = root.contains(document.activeElement);
      root.replaceChildren(question, pace, bar, rest, post, noteBox, labels, tools,
        problem, said, hint, asleep);
      if (began) root.focus();
    }
    const all = counts.labelled + counts.to_go, speed = counts.an_hour;
    const fast = speed === null ? "" : ` · ${Math.round(speed).toLocaleString("en")} an hour`;
    pace.textContent = `${counts.labelled} labelled · ${counts.to_go} to go${fast}`;
    bar.firstChild.style.width = all ? `${(100 * counts.labelled) / all}%` : "100%";
    said.textContent = state.said;
    labels.hidden = hint.hidden = !now;
    for (const key of ["s", "?", "n"]) tool[key].hidden = !now;
    drawRest(state.break);
    if (now === null) {
      text.textContent = `Nothing is left in this queue. You have labelled ${counts.labelled} posts, thank you. Run this ` +
        "chapter again for a new queue.";
      cut.textContent = "";
      noteBox.hidden = true;
      drawn = null;
      return;
    }
    tool["?"].setAttribute("aria-pressed", String(now.unsure));
    if (drawn !== now.id) {
      text.textContent = now.text;
      cut.textContent = now.length > now.text.length ? `Cut here: ${now.text.length.toLocaleString("en")} of ` +
        `${now.length.toLocaleString("en")} characters are shown.` : "";
      text.scrollTop = 0;
      if (text.scrollHeight > text.clientHeight + 1) text.setAttribute("tabindex", "0");
      else text.removeAttribute("tabindex");
      explain(focused());
      drawn = now.id;
    }
    if (!writing) { note.value = now.note; noteBox.hidden = !now.note; }
  }

  function drawRest(due) {
    if (due && !rest.firstChild) {
      rest.append(el("span", {}, "You have been at it for 45 minutes. A few minutes away from this do good; all is saved."),
        el("button", { type: "button", onclick: () => { send({ do: "go on" }); root.focus(); } }, "Go on"));
    } else if (!due) rest.replaceChildren();
  }

  explain(null);
  noteBox.hidden = true;
  model.on("change:state", draw);
  place.append(root);
  draw();
  return () => model.off("change:state", draw);
}

export default { render };
