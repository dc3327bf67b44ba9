"""All typed input is text on everybody's screen: no field lets markup, a script or an address out of it.

Everything is typed into the page's own fields, and looked at by somebody else too.
"""

from __future__ import annotations

from typing import Any

# Names are at most 64 characters long.
MARKUP = "<img src=//evil.example onerror=\"document.title='owned'\">"
SCRIPT = (
    """<script>document.title='owned'</script><iframe srcdoc='<script>top.document.title="owned"</script>'></iframe>"""
    '<svg onload="document.title=\'owned\'"><a href="javascript:alert(1)">x</a> javascript:alert(1)'
    " [x](javascript:alert(1)) data:text/html,<script>alert(1)</script> ${document.title='owned'} &lt;b&gt;"
)
# Shown as written this would read "photo exe.png"; and a path, and a name that is markup.
FILES = ["photo \u202egnp.exe", "../../etc/passwd\u0007.txt", "<img src=x onerror=alert(1)>.txt"]
SHOWN = ["photo gnp.exe", "passwd.txt"]
HOSTILE = "img[src*=evil], img[onerror], svg[onload], iframe, object, embed, [href^='javascript:'], [href^='data:text']"


def harmless(page: Any, someone: Any) -> None:
    """Check that no element was made, no script ran, nothing was logged and the address is the same."""
    assert page.locator(HOSTILE).count() == 0
    assert "owned" not in page.title()
    assert someone.problems == []
    assert [url for url in someone.asked if not url.startswith((someone.relay.url, "data:", "blob:"))] == []


def write(page: Any, text: str) -> None:
    page.fill(".composer textarea", text)
    page.press(".composer textarea", "Enter")


def test_markup_in_any_field_is_text_for_everybody(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    ben.say("anna", "hello")
    page, other = anna.chats(), ben.chats()

    page.click(".me")
    page.fill(".panel input[name=name]", MARKUP)
    page.click(".panel form .button")
    page.locator(".panel-head h3", has_text=MARKUP).wait_for()
    page.go_back()
    other.wait_for_selector(".chat-row-name")
    other.locator(".chat-row-name", has_text=MARKUP).wait_for()

    page.click(".column-list .bar .is-accent")
    page.click("text=New group")
    page.fill(".panel input[type=search]", MARKUP)
    page.locator(".none", has_text=MARKUP).wait_for()
    page.fill(".panel input[type=search]", "")
    page.check(".person:has-text('Ben') input")
    page.fill("input[name=name]", MARKUP)
    page.click("text=Create")
    page.locator(".chat-title-name", has_text=MARKUP).wait_for()
    write(page, SCRIPT)
    page.wait_for_selector(".is-mine .ticks-delivered")
    other.locator(".chat-row", has_text="[x](javascript").click()
    other.locator(".text", has_text="[x](javascript").wait_for()
    assert other.locator(".text").last.inner_text() == SCRIPT
    assert other.locator(".author").last.inner_text() == MARKUP
    write(other, "answered")
    page.locator(".text", has_text="answered").wait_for()
    other.locator(".message").first.click(button="right")
    other.click("[role=menuitem]:has-text('Reply')")
    other.locator(".what .quote-text", has_text="[x](javascript").wait_for()
    write(other, MARKUP)
    page.locator(".quote-text", has_text="[x](javascript").wait_for()
    page.fill(".composer textarea", SCRIPT)
    page.click(".chat-title")
    page.locator(".panel h3", has_text=MARKUP).wait_for()
    page.go_back()
    page.fill(".chat-list input[type=search]", "owned")
    page.locator(".hit", has_text="owned").first.wait_for()
    page.locator(".hit mark").first.wait_for()
    page.fill(".chat-list input[type=search]", "<script>javascript:alert(7)</script>")
    page.locator(".none", has_text="javascript").wait_for()
    harmless(page, anna)
    harmless(other, ben)


def test_sign_in_fields_treat_markup_as_text(person: Any) -> None:
    anna, guest = person("anna"), person(None)
    page = anna.chats()
    page.click("text=Invite people")
    page.fill(".modal input[name=name]", MARKUP)
    page.click(".modal .button:has-text('Make a link')")
    page.wait_for_selector("svg.qr path")
    link = page.input_value(".copy-field input")
    came = guest.open("/#invite=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
    came.click("text=Join")
    came.wait_for_selector(".form-error")
    # The browser itself logs a refused sign-in to the console.
    guest.problems.clear()
    came.click("text=I have an invite")
    came.fill("input[name=invite]", link)
    came.click("text=Join")
    assert came.input_value(".modal input[name=name]") == MARKUP
    came.click("text=Start chatting")
    came.wait_for_selector(".modal", state="detached")
    page.keyboard.press("Escape")
    page.click(".column-list .bar .is-accent")
    page.locator(".person", has_text=MARKUP).wait_for()
    harmless(came, guest)
    harmless(page, anna)


def test_file_name_can_neither_mislead_nor_contain_markup(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    ben.say("anna", "send them")
    page = anna.chats()
    page.click("[data-chat=ben]")
    chosen = [{"name": name, "mimeType": "text/plain", "buffer": b"<script>alert(1)</script>"} for name in FILES]
    page.set_input_files(".composer input[type=file]", chosen)
    page.fill(".modal textarea", MARKUP)
    page.click(".modal .button:has-text('Send')")
    page.locator(".is-mine a.file").nth(2).wait_for()
    other = ben.chats()
    other.click("[data-chat=anna]")
    other.locator("a.file").nth(2).wait_for()
    for one in (page, other):
        names = one.locator(".file-name").all_inner_texts()
        assert names[:2] == SHOWN
        assert "img src=x onerror=alert(1)" in names[2]
        assert not {"\u202e", "/", "\u0007"} & set("".join(names))
    harmless(page, anna)
    harmless(other, ben)


def test_outside_file_is_a_link_that_names_its_target_and_is_not_loaded(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    url = "https://evil.example/pixel.png"
    meta = {"mimetype": "image/png", "width": 80, "height": 80, "size": 7}
    file = {"type": "image", "id": "p", "filename": "pixel.png", "url": url, "meta": meta}
    (sent,) = ben.ask(("new", {"chatId": "anna", "message": "look", "attachments": [file]}))
    assert "error" not in sent
    page = anna.chats()
    page.click("[data-chat=ben]")
    link = page.locator(".message a.file")
    link.wait_for()
    assert link.get_attribute("href") == url
    assert "evil.example" in link.inner_text()
    page.click(".chat-title")
    page.wait_for_selector(".panel-head")
    harmless(page, anna)
