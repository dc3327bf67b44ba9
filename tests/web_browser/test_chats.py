"""Chats begin and end: the first one, from an empty list, and a group with its members."""

from __future__ import annotations

from typing import Any

from tests.support.page_actions import write


def test_empty_list_says_what_to_do(person: Any) -> None:
    page = person("ben").chats()
    page.wait_for_selector(".empty")
    assert page.locator("text=Invite people").count() == 0
    page.click("text=Write to someone")
    page.click(".person:has-text('Anna')")
    page.wait_for_selector(".hello")
    page.keyboard.type("hi")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-chat=anna] .ticks-sent")


def test_group_is_created_and_managed(person: Any) -> None:
    anna, ben = person("anna"), person("ben")
    page = anna.chats()
    page.click(".column-list .bar .is-accent")
    page.click("text=New group")
    page.fill("input[name=name]", "Harbour crew")
    page.check(".person:has-text('Ben') input")
    page.click("text=Create")
    page.wait_for_selector(".chat-title-name:has-text('Harbour crew')")
    other = ben.chats()
    other.click(".chat-row:has-text('Harbour crew')")
    write(page, "welcome aboard")
    other.wait_for_selector(".author:has-text('Anna')")
    page.wait_for_selector(".is-mine .ticks-read")
    page.click(".chat-title")
    page.click("text=Add members")
    page.check(".person:has-text('Мария') input")
    page.click(".panel-foot .button")
    page.wait_for_selector(".person:has-text('Мария')")
    page.click("[aria-label='Make Ben Okafor an admin']")
    page.wait_for_selector(".person:has-text('Ben') .tag")
    page.click("[aria-label='Remove Ben Okafor']")
    page.click(".modal .is-danger")
    other.wait_for_selector(".lost:has-text('Anna Lindqvist removed you from “Harbour crew”')")
    page.click("text=Delete for everybody")
    page.click(".modal .is-danger")
    page.wait_for_selector(".chat-row:has-text('Harbour crew')", state="detached")
