"""The review desk in a real browser: every button and key goes to Python and comes back, and the log has it."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from test_reports import HOSTILE
from test_review import POSTS, TEXTS, THREE, Desk, built

from hrf_utils import review
from hrf_utils.review_widget import ReviewWidget

FRONT = """async ([script, style, shown, light]) => {
  document.body.dataset.jpThemeLight = light;
  document.head.append(Object.assign(document.createElement("style"), { textContent: style }));
  const { default: widget } = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
  const heard = [], model = { get: () => shown, on: (_, act) => heard.push(act), off: () => {}, async send(message) {
    const now = await window.python(message), changed = JSON.stringify(now) !== JSON.stringify(shown);
    shown = now;
    if (changed) heard.forEach((act) => act());
  } };
  widget.render({ model, el: document.querySelector("main") });
}"""
"""What anywidget does in JupyterLab: mount the module, send its messages, and tell it of a trait that changed."""


class Front(Desk):
    """A data set, and the desk in a browser at which it is reviewed."""

    def __init__(self, page, force, texts, light):
        super().__init__(None)
        self.page = page
        posts, (frame, members) = POSTS.assign(text=texts), built(**THREE)
        self.store.add_posts(posts)
        review.keep(self.store, "force", "d", frame.assign(title=texts[:3]), members)
        ranked = review.queue(self.store.incidents("force", "d"), members, posts)
        widget = ReviewWidget(self.store, force, "d", ranked, members, posts)
        page.expose_function("python", lambda message: (widget._handle_custom_msg(message, []), widget.shown)[1])
        page.evaluate(FRONT, [str(widget._esm), str(widget._css), widget.shown, str(light).lower()])
        self.who, self.note = self.field("Your name"), self.field("Note, kept with the next step")

    def click(self, name, says):
        self.page.get_by_role("button", name=name).click()
        expect(self.page.get_by_role("status")).to_have_text(says)

    def press(self, key, says):
        self.page.keyboard.press(key)
        expect(self.page.get_by_role("status")).to_have_text(says)

    def field(self, name):
        return self.page.locator("label.field", has=self.page.get_by_text(name, exact=True)).locator("input, select")


@pytest.fixture
def front(tmp_path, visit, force):
    """Open the desk with the texts of nine posts, of which the first three are the titles of incidents, too."""
    def go(texts=TEXTS, width=1280, light=True):
        path = tmp_path / "desk.html"
        path.write_text('<!doctype html><html lang="en"><title>A desk</title><body><main></main>')
        return Front(visit(path, width), force, texts, light)
    return go


def test_every_step_by_button_and_key_is_in_the_log(front):
    desk = front()
    page, title = desk.page, desk.page.get_by_role("heading")
    desk.click("Approve", "Not kept: a decision needs the name of who decides, of at most 100 letters.")
    desk.who.fill("Ann")
    desk.note.press_sequentially("a bare run")  # letters that are keys elsewhere
    page.get_by_role("region").focus()
    desk.press("a", "Step 1 is kept: approve.")
    assert desk.note.input_value() == "" and title.inner_text() == TEXTS[1]
    desk.field("If rejected, it is rather").select_option("Police, no force")
    desk.click("Reject", "Step 2 is kept: reject.")
    desk.press("b", "")
    assert "2 of 3 · rejected · rejected by Ann" in page.inner_text("main")
    desk.press("u", "Step 3 is kept: undo.")

    page.get_by_text("Edit, merge, split").click()
    for name, value in (("City", "Boise"), ("State", "ID"), ("Date", "2026-02-27")):
        desk.field(name).fill(value)
    desk.field("Rank").select_option("Blunt force")
    desk.click("Save", "Step 4 is kept: edit.")
    page.get_by_text("Edit, merge, split").click()
    desk.field("The same as").select_option(f"{TEXTS[2]} (2)")
    desk.click("Merge", "Step 5 is kept: merge.")
    page.get_by_text("Edit, merge, split").click()
    page.get_by_role("checkbox", name=TEXTS[4]).press("Space")
    page.keyboard.press("Tab")
    desk.click("Split", "Step 6 is kept: split.")
    desk.note.fill("look again")
    desk.click("Only note", "Step 7 is kept: note.")
    desk.click("Undo note by Ann", "Step 8 is kept: undo.")
    desk.press("n", "")
    desk.press("n", "This is the end of the queue.")

    log = desk.log()
    assert log["incident_id"].tolist() == ["i1", *["i2"] * 7] and set(log["who"]) == {"Ann"}
    assert log[["action", "undone"]].values.tolist() == [
        ["approve", False], ["reject", True], ["undo", False], ["edit", False], ["merge", False], ["split", False],
        ["note", True], ["undo", False]]
    assert log["note"].tolist() == ["a bare run", *[""] * 5, "look again", ""]
    assert log["value"][1]["label"] == 1 and log["value"][4]["with"] == ["i3"] and log["value"][5]["posts"] == ["p4"]
    assert desk.of("i1", "status") == "approved"
    assert desk.of("i2", "city", "state", "label", "status") == ["Boise", "ID", 3, "pending"]
    assert str(desk.of("i2", "incident_date")) == "2026-02-27" and page.complaints == []


def test_it_takes_two_who_agree(front, monkeypatch):
    monkeypatch.setenv("TWO_PERSON", "1")
    desk = front()
    desk.who.fill("Ann")
    desk.click("Approve", "Step 1 is kept: approve.")
    desk.click("Back", "")
    assert "pending · approved by Ann; a second person is missing" in desk.page.inner_text("main")
    desk.press("a", "Not kept: Ann has approved this incident already.")
    desk.who.fill("Ben")
    desk.click("a Approve", "Step 2 is kept: approve.")
    desk.press("b", "")
    assert "approved · approved by Ann and Ben" in desk.page.inner_text("main")
    assert desk.log()["who"].tolist() == ["Ann", "Ben"] and desk.of("i1", "status") == "approved"


def test_the_drafted_question_can_be_copied_by_keys(front):
    desk = front()
    desk.page.get_by_text("A question to the author").press("Enter")
    for key in ("Tab", "Control+a", "Control+c"):
        desk.page.keyboard.press(key)
    desk.note.press("Control+v")
    copied = desk.note.input_value()
    assert copied.startswith("Thank you for your post.") and "on which day this was?" in copied
    assert desk.log().empty


@pytest.mark.parametrize(("width", "light"), [(1280, True), (1280, False), (400, True), (400, False)])
def test_hostile_words_stay_words_and_everybody_can_read_them(front, width, light):
    texts = [*HOSTILE[:2], "\u202egnp.exe مرحبا 👮🏽‍♀️", *HOSTILE[3:9]]
    desk = front(texts, width, light)
    page = desk.page
    for fold in page.locator("summary").all():
        fold.click()
    assert page.locator(".posts span").all_text_contents() == texts[:3]
    assert page.get_by_role("heading").text_content() == desk.field("Title").input_value() == texts[0]
    near = desk.field("The same as").locator("option").all_text_contents()
    assert sorted(near) == sorted([f"{texts[1]} (3)", f"{texts[2]} (2)"])
    assert page.locator("main").locator("script, img, style, a").count() == 0 and page.title() == "A desk"
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width and page.complaints == []
