"""The rollout browser in a real browser: filters, links, keys, pictures, and replies that try to escape."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import CHROMIUM, QUIET, Visit, contrast, needs_browser
from fake_runs import ARMS, judged, token_change, write_lines, write_runs
from report_browser import SCROLL, write_training
from tokenizers import Tokenizer

from firsthand.findings import TOKENS_FILE
from firsthand.records import Judged, Rollout, Score, Status, StopReason
from firsthand.report import write_report
from firsthand.report.runs import read_run
from firsthand.worlds import SMALL

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Playwright

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install 'firsthand[dev]'")
pytestmark = needs_browser
READY = "#rollout-browser[data-ready]"
HOSTILE = [
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>",
    '<a href="javascript:alert(4)">javascript:alert(4)</a>',
    "\u202egnp.exe\u2066 \u200f<!-- --><![CDATA[ ]]> {{ 7 * 7 }} &lt;b&gt;",
    "<iframe src='https://example.com'></iframe> \x00 \u2028 \ud7ff \uffff 𝄞",
]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four arms, and a run with tokens; one question was seen twice in it, and one group was left out."""
    root = tmp_path_factory.mktemp("rollouts")
    runs = write_runs(root / "runs", per_family=12)
    made = write_training(root / "made", "tokens", steps=60, prompts=4, group=8)
    lines = [Rollout.model_validate_json(line) for line in (made / "rollouts.jsonl").read_text().splitlines()]
    again = lines[0].model_copy(update={"step": 40, "group": lines[160].group})
    lines = [*lines[:164], again, *lines[164:], lines[-1].model_copy(update={"left_out": "zero variance: all 0"})]
    write_lines(made / "rollouts.jsonl", lines)
    _write_change(root / "made" / "tokens-tokens-s0-00000000", read_run(made).id, lines[0])
    return write_report([*runs, made], root / "report.html", "Rollouts")


def _write_change(folder: Path, training: str, rollout: Rollout) -> None:
    """What training changed of the first reply: its first token became likelier, its second less so."""
    folder.mkdir()
    reply = rollout.group[0].reply
    tokenizer = Tokenizer.from_file(str(SMALL / "tokenizer.json"))
    pieces = [*(tokenizer.decode([i], skip_special_tokens=False) for i in reply.token_ids[:-1]), ""]
    (folder / "recipe.json").write_text(json.dumps({"tokens_of": training}))
    change = token_change(rollout, reply.text, pieces, [-2.0, -1.0, -1.0], [-0.5, -1.5, -1.0])
    write_lines(folder / TOKENS_FILE, [change])


def opened(browser: "Browser", report: Path, link: str = "", **context: Any) -> Visit:
    """The page under that link, once the browser answers."""
    visit = Visit(browser, report, link, **context)
    visit.page.wait_for_selector(READY, state="attached")
    return visit


@pytest.fixture
def visit(browser: "Browser", report: Path) -> Iterator[Visit]:
    visit = opened(browser, report)
    yield visit
    assert (visit.console, visit.dialogs) == ([], [])
    visit.page.close()


def until(visit: Visit, expression: str) -> None:
    """Wait for it; Playwright's own way is forbidden by the page's policy."""
    for _ in range(100):
        if visit.page.evaluate(expression):
            return
        visit.page.wait_for_timeout(50)
    raise AssertionError(f"expected {expression} within 5 seconds")


def arm_of(visit: Visit, name: str) -> str:
    return str(
        visit.page.locator("#rollout-of-arm option", has_text=re.compile(f"^{re.escape(name)}$")).get_attribute("value")
    )


def link(visit: Visit) -> str:
    return str(visit.page.evaluate("location.hash"))


def title(visit: Visit) -> str:
    return visit.page.locator("#rollout-browser .title h3").inner_text().strip()


def choose(visit: Visit, name: str, value: str) -> None:
    visit.page.select_option(f"#rollout-{name}", value)


def tally(visit: Visit) -> tuple[int, int]:
    found = re.match(r"([\d,]+) of ([\d,]+)", visit.page.locator("#rollout-count").inner_text())
    assert found
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def rows(visit: Visit) -> "Locator":
    return visit.page.locator("#rollout-list .row")


def labels(visit: Visit) -> list[str]:
    """What a screen reader says of the rows that are there, in their order."""
    found = rows(visit).evaluate_all("all => all.map(one => [one.place, one.getAttribute('aria-label')])")
    return [label for _, label in sorted(found)]


# ---- offline


class Trap:
    """A proxy that answers nobody, and remembers what it was asked for; Chromium's own errands are left out."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._server.accept()
            except OSError:  # closed
                return
            with caller:
                line = caller.recv(4096).partition(b"\r\n")[0].decode()
                if not re.search(r"\.(google|googleapis|gvt1)\.com", line):
                    self.asked.append(line)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def test_opening_and_using_it_asks_for_nothing_but_the_file(playwright: "Playwright", report: Path) -> None:
    """Chromium sends every request, whatever the address, to a server of ours."""
    with closing(Trap()) as trap:
        caught = [f"--proxy-server=127.0.0.1:{trap.port}", "--proxy-bypass-list=<-loopback>"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *caught])
        visit = opened(browser, report, "#r/arm=1/step=30")
        visit.page.keyboard.press("j")
        choose(visit, "view", "held")
        visit.page.wait_for_timeout(300)
        files = [url for url in visit.requests if not url.startswith("data:")]
        assert {url.partition("#")[0] for url in files} == {report.as_uri()}
        assert visit.console == [] and trap.asked == []
        with pytest.raises(sync_api.Error, match="ERR_"):
            visit.page.goto("http://example.com/", timeout=5000)
        assert trap.asked[0].startswith("GET http://example.com/")  # a request would have come here
        browser.close()


# ---- what is shown


def test_a_held_out_question_has_the_replies_of_every_arm_side_by_side(visit: Visit) -> None:
    columns = visit.page.locator(".arm-column")
    assert [name.strip() for name in columns.locator(".who").all_inner_texts()] == list(ARMS)
    assert columns.locator("> .one").count() == 4
    columns.first.locator("summary").click()
    assert columns.first.locator("details .one").count() == 8
    image = visit.page.locator(".detail .shots img").first
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_a_group_shows_all_its_replies_with_answer_verdict_and_advantage(visit: Visit, report: Path) -> None:
    arm = arm_of(visit, "tokens")
    visit.page.evaluate(f"location.hash = '#r/arm={arm}/step=2/group=1'")
    visit.page.wait_for_selector(".replies .credit")
    assert title(visit) == "tokens, seed 0, step 2, group 1"
    [run] = (report.parent / "made").glob("tokens-s0-*")
    line = [Rollout.model_validate_json(line) for line in (run / "rollouts.jsonl").read_text().splitlines()][9]
    cards = visit.page.locator(".replies .one")
    assert visit.page.locator(".question").first.inner_text() == line.question
    for i, one in enumerate(line.group):
        said = cards.nth(i).inner_text().replace("−", "-")
        assert cards.nth(i).locator(".tokens").inner_text().replace("∎", "") == one.reply.text
        assert f"read as {one.verdict.parsed}; {one.verdict.why}" in said
        assert (f"advantage {one.advantage:+.2f}" if one.advantage else "advantage 0") in said
        assert cards.nth(i).locator(".mark").inner_text().split()[-1] == ("right" if one.verdict.score else "wrong")


def test_every_picture_that_a_reader_reaches_decodes_with_its_pixels(visit: Visit) -> None:
    for _ in range(6):
        visit.page.locator("#rollout-list").press("j")
        visit.page.wait_for_timeout(50)
        images = visit.page.locator(".detail img")
        widths = images.evaluate_all("all => Promise.all(all.map(one => one.decode().then(() => one.naturalWidth)))")
        assert widths and all(widths)
    small = images.first
    assert small.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"
    width, height, wide = small.evaluate("image => [image.naturalWidth, image.naturalHeight, image.width]")
    assert wide == pytest.approx(width * (336 // max(width, height)), abs=3)


def test_the_tokens_say_how_likely_they_were_by_colour_line_and_number(visit: Visit, report: Path) -> None:
    visit.page.evaluate(f"location.hash = '#r/arm={arm_of(visit, 'tokens')}/step=1/group=0'")
    visit.page.wait_for_selector(".tokens .l1")
    [run] = (report.parent / "made").glob("tokens-s0-*")
    line = [Rollout.model_validate_json(line) for line in (run / "rollouts.jsonl").read_text().splitlines()][4]
    logps = line.group[0].reply.logprobs
    shown = (
        visit.page.locator(".one").first.locator(".tokens span").evaluate_all("all => all.map(one => one.className[1])")
    )
    limits = [(0.105, "0"), (0.693, "1"), (2.3, "2"), (float("inf"), "3")]
    assert shown == [next(name for limit, name in limits if round(-p, 2) <= limit) for p in logps]
    style = "all => all.map(one => getComputedStyle(one)).map(s => s.textDecorationStyle + s.textDecorationLine)"
    assert len(set(visit.page.eval_on_selector_all(".bins span", style))) == 4
    visit.page.locator(".one").first.locator(".tokens span").nth(2).hover()
    said = visit.page.locator(".one").first.locator(".read-out").inner_text().replace("−", "-")
    assert f"token 3 of {len(logps)}, log-prob {logps[2]:+.2f}" in said


def test_tokens_are_coloured_by_what_training_changed_by_advantage_and_by_mask(visit: Visit) -> None:
    arm = arm_of(visit, "tokens")
    visit.page.evaluate(f"location.hash = '#r/arm={arm}/step=0/group=0/colour=change'")
    visit.page.wait_for_selector(".one .u0")
    card = visit.page.locator(".one").first
    kinds = card.locator(".tokens span").evaluate_all("all => all.map(one => one.className.split(' ')[0])")
    assert kinds[:2] == ["u0", "d1"] and set(kinds[2:]) == {"t"}
    card.locator(".tokens").focus()
    assert "changed by +1.50 nats in tokens" in card.locator(".read-out").inner_text()
    visit.page.get_by_role("button", name="advantage").click()
    assert "colour=advantage" in link(visit)
    for card in visit.page.locator(".replies .one").all():
        number = card.locator(".credit").inner_text().replace("−", "-").split()[-1]
        kinds = set(card.locator(".tokens span").evaluate_all("all => all.map(one => one.className.split(' ')[0])"))
        assert kinds <= ({"u0", "u1"} if float(number) > 0 else {"d0", "d1"} if float(number) < 0 else {"t"})
    visit.page.evaluate(f"location.hash = '#r/arm={arm}/step=59/group=4/colour=mask'")
    visit.page.wait_for_selector(".banner")
    assert "did not train on this group: zero variance: all 0" in visit.page.locator(".banner").inner_text()
    kinds = visit.page.locator(".replies .tokens span").evaluate_all(
        "all => all.map(one => one.className.split(' ')[0])"
    )
    assert set(kinds) == {"off"}
    assert visit.page.locator(".why-not").first.inner_text() == "not trained on: zero variance: all 0"


def test_a_question_leads_to_its_other_times(visit: Visit) -> None:
    arm = arm_of(visit, "tokens")
    visit.page.evaluate(f"location.hash = '#r/arm={arm}/step=0/group=0'")
    visit.page.wait_for_selector(".elsewhere a")
    visit.page.locator(".elsewhere a", has_text="step 40").click()
    assert title(visit) == "tokens, seed 0, step 40, group 4"
    assert visit.page.locator(".elsewhere a", has_text="step 0").count() == 1


# ---- filters, order, and the list


def test_filters_leave_what_they_say(visit: Visit) -> None:
    everything = tally(visit)
    assert everything == (60, 60)
    choose(visit, "family", "count")
    assert tally(visit) == (12, 60) and all(label.startswith("count:") for label in labels(visit))
    choose(visit, "family", "")
    choose(visit, "outcome", "disagree")
    some, _ = tally(visit)
    assert 0 < some < 60
    for row in rows(visit).all()[:5]:
        assert len(set(row.locator(".dot").all_inner_texts())) > 1
    choose(visit, "outcome", "")
    choose(visit, "view", "train")
    choose(visit, "of-arm", arm_of(visit, "tokens"))
    assert tally(visit)[0] == 242
    visit.page.fill("#rollout-from", "58")
    until(visit, "document.getElementById('rollout-count').textContent.startsWith('9 ')")
    assert all(re.search(r"step 5[89]", label) for label in labels(visit))
    choose(visit, "outcome", "left out")
    assert tally(visit)[0] == 1 and "left out" in labels(visit)[0]


def test_length_and_text_are_of_one_reply_and_those_that_fit_are_marked(visit: Visit, report: Path) -> None:
    [run] = (report.parent / "made").glob("tokens-s0-*")
    lines = [Rollout.model_validate_json(line) for line in (run / "rollouts.jsonl").read_text().splitlines()]
    text = lines[7].group[3].reply.text
    choose(visit, "view", "train")
    visit.page.fill("#rollout-text", text.upper())
    expected = sum(any(text.lower() in j.reply.text.lower() for j in line.group) for line in lines)
    until(visit, f"document.getElementById('rollout-count').textContent.startsWith('{expected} ')")
    rows(visit).first.click()
    assert visit.page.locator(".one.hit").count() >= 1
    visit.page.fill("#rollout-text", "")
    longest = max(j.reply.length or 0 for line in lines for j in line.group)
    choose(visit, "of-arm", arm_of(visit, "tokens"))
    visit.page.fill("#rollout-min", str(longest))
    expected = sum(any(j.reply.length == longest for j in line.group) for line in lines)
    until(visit, f"document.getElementById('rollout-count').textContent.startsWith('{expected} ')")


def test_the_list_sorts(visit: Visit) -> None:
    choose(visit, "view", "train")
    choose(visit, "of-arm", arm_of(visit, "tokens"))
    choose(visit, "sort", "latest")
    steps = [int(re.findall(r"step (\d+)", label)[0]) for label in labels(visit)]
    assert steps == sorted(steps, reverse=True) and steps[0] == 59
    choose(visit, "sort", "wrong")
    right = [int(re.findall(r"(\d+) of 8 right", label)[0]) for label in labels(visit)]
    assert right == sorted(right) and right[0] < 3


def test_only_rows_in_sight_are_in_the_document(visit: Visit) -> None:
    choose(visit, "view", "train")
    choose(visit, "of-arm", arm_of(visit, "tokens"))
    assert tally(visit)[0] == 242
    for _ in range(2):
        visit.page.evaluate(SCROLL)
        assert 5 < rows(visit).count() < 45
    visit.page.evaluate("document.getElementById('rollout-list').scrollTop = 1e9")
    until(visit, "[...document.querySelectorAll('.row')].some(row => row.place === 241)")
    last = rows(visit).last
    assert "step 59" in labels(visit)[-1]
    assert last.get_attribute("aria-setsize") == "242"


# ---- links


def test_a_link_opens_the_reply_that_it_means(browser: "Browser", report: Path) -> None:
    visit = opened(browser, report)
    arm = arm_of(visit, "tokens")
    choose(visit, "view", "train")
    choose(visit, "of-arm", arm)
    choose(visit, "sort", "latest")
    rows(visit).nth(3).click()
    wanted = title(visit)
    meant = visit.page.locator(".one h4 a").nth(5)
    meant.click()
    kept, text = link(visit), visit.page.locator(".one.meant .tokens").text_content()
    visit.page.close()
    other = opened(browser, report, kept)
    assert title(other) == wanted and other.page.locator(".one.meant .tokens").text_content() == text
    assert other.page.locator(".one.meant h4").inner_text().startswith("reply 6")
    assert (other.page.input_value("#rollout-sort"), other.page.input_value("#rollout-of-arm")) == ("latest", arm)
    box = other.page.locator("#rollout-browser").bounding_box()
    assert box and box["y"] < 800
    other.page.close()


def test_a_curve_s_link_opens_the_nearest_step_and_says_so(browser: "Browser", report: Path) -> None:
    visit = opened(browser, report, "#r/arm=2/step=31")  # grpo wrote every fifth step
    assert title(visit) == "grpo, seed 0, step 30, group 0"
    assert "Step 31 is not on this page" in visit.page.locator(".banner").first.inner_text()
    visit.page.evaluate("location.hash = '#r/arm=2/step=20'")
    until(visit, "document.querySelector('.title h3').textContent.includes('step 20')")
    assert visit.page.locator(".banner", has_text="not on this page").count() == 0
    visit.page.close()


def test_back_returns_to_what_was_open(visit: Visit) -> None:
    rows(visit).nth(1).click()
    first = title(visit), visit.page.locator(".detail .caption code").inner_text()
    rows(visit).nth(4).click()
    assert visit.page.locator(".detail .caption code").inner_text() != first[1]
    visit.page.go_back()
    until(visit, f"document.querySelector('.detail .caption code').textContent === '{first[1]}'")
    assert title(visit) == first[0]
    assert rows(visit).nth(1).get_attribute("aria-selected") == "true"


@pytest.mark.parametrize(
    "broken", ["#r/", "#r/arm=99/step=x", "#r/q=nobody", "#r/%E0%A4%A/step=1", "#r/__proto__=1/text=%"]
)
def test_a_link_that_means_nothing_breaks_nothing(browser: "Browser", report: Path, broken: str) -> None:
    visit = opened(browser, report, broken)
    assert visit.console == [] and tally(visit)[1] > 0
    visit.page.close()


# ---- keys and screen readers


def test_everything_can_be_reached_with_keys_alone(visit: Visit) -> None:
    press = visit.page.keyboard.press
    visit.page.locator("#rollouts").scroll_into_view_if_needed()
    visit.page.locator("#rollout-list").focus()
    press("ArrowDown")
    press("ArrowDown")
    assert (
        visit.page.evaluate(
            "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).place"
        )
        == 2
    )
    press("Enter")
    assert visit.page.evaluate("document.activeElement.tagName") == "H3"
    assert rows(visit).nth(2).get_attribute("aria-selected") == "true"
    before = link(visit)
    press("j")
    until(visit, f"location.hash !== '{before}'")
    press("k")
    until(visit, f"location.hash === '{before}'")
    press("/")
    assert visit.page.evaluate("document.activeElement.id") == "rollout-text"
    press("j")
    assert visit.page.input_value("#rollout-text") == "j"
    press("Backspace")
    press("Escape")
    assert visit.page.evaluate("document.activeElement.id") == "rollout-list"
    press("?")
    assert visit.page.locator("dialog").is_visible()
    press("Escape")
    assert not visit.page.locator("dialog").is_visible()
    press("End")
    assert (
        visit.page.evaluate(
            "document.getElementById(document.activeElement.getAttribute('aria-activedescendant')).place"
        )
        == 59
    )


def test_arrow_keys_read_a_reply_token_by_token(visit: Visit) -> None:
    visit.page.evaluate(f"location.hash = '#r/arm={arm_of(visit, 'tokens')}/step=1/group=0'")
    visit.page.wait_for_selector(".tokens .l1")
    visit.page.locator(".one .tokens").first.focus()
    read_out = visit.page.locator(".one .read-out").first
    assert read_out.get_attribute("aria-live") == "polite" and "token 1 of" in read_out.inner_text()
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowRight")
    visit.page.keyboard.press("ArrowLeft")
    assert "token 2 of" in read_out.inner_text()
    assert visit.page.locator(".one .tokens .now").count() == 1


def test_roles_and_names_tell_what_everything_is(visit: Visit) -> None:
    assert visit.page.get_by_role("listbox", name="Rollouts").get_by_role("option").count() > 5
    assert visit.page.get_by_role("search", name="Filter the rollouts").get_by_label("Family").count() == 1
    unnamed = visit.page.eval_on_selector_all(
        "#rollout-browser :is(button, select, input, a, img)",
        "all => all.filter(one => !(one.labels?.length || one.ariaLabel || one.alt || one.textContent.trim())).length",
    )
    assert unnamed == 0
    assert visit.page.locator("#rollout-count").get_attribute("aria-live") == "polite"


# ---- looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_have_enough_contrast(browser: "Browser", report: Path, scheme: str) -> None:
    visit = opened(browser, report, "#r/view=train/of-arm=2/outcome=mixed/family=count", color_scheme=scheme)
    own = [".detail .text", *(f"{kind}.{fared}" for kind in (".dot", ".mark") for fared in ("right", "wrong"))]
    pairs = [
        (".detail .question", ".card"),
        (".row .ask", ".card"),
        (".judged span", ".card"),
        *zip(own, own, strict=True),
    ]
    inside = "#rollout-browser"
    found = {
        pair: contrast(visit, f"{inside} {pair[0]}", "color", inside if pair[1] == ".card" else f"{inside} {pair[1]}")
        for pair in pairs
    }
    assert {pair: c for pair, c in found.items() if c < 4.5} == {}
    visit.page.close()


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_it_fits_its_window_with_a_rollout_open_and_without(browser: "Browser", report: Path, width: int) -> None:
    visit = opened(browser, report, "#r/arm=2/step=30", viewport={"width": width, "height": 800})
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    assert visit.page.locator(".detail").is_visible()
    assert visit.page.locator("#rollout-list").is_visible() == (width > 860)
    visit.page.keyboard.press("Escape")
    assert visit.page.locator("#rollout-list").is_visible()
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    visit.page.close()


def test_print_shows_the_open_rollout_in_full(browser: "Browser", report: Path) -> None:
    visit = opened(browser, report, "#r/arm=2/step=30")
    visit.page.emulate_media(media="print")
    assert (
        not visit.page.locator("#rollout-list").is_visible()
        and not visit.page.locator("#rollout-browser .bar").is_visible()
    )
    detail = visit.page.locator("#rollout-browser .detail")
    assert detail.evaluate("one => one.scrollHeight - one.clientHeight") <= 1
    assert visit.page.locator(".replies .one").last.is_visible()
    visit.page.close()


# ---- hostile replies


@pytest.mark.parametrize("evil", [*HOSTILE, "x</script>" * 100_000], ids=[*map(str, range(len(HOSTILE))), "1 MB"])
def test_a_hostile_reply_is_shown_as_text(browser: "Browser", tmp_path: Path, evil: str) -> None:
    [run] = write_runs(tmp_path / "runs", per_family=1, arms={"grpo": ARMS["grpo"]})
    one = judged(evil, 0.0, parsed=evil, why=evil, advantage=1.0)
    everywhere = {"question": evil, "gold": evil, "family": evil[:200]}
    scores = [Score.model_validate_json(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    write_lines(
        run / "scores.jsonl", [s.model_copy(update={"greedy": one, "samples": (one,), **everywhere}) for s in scores]
    )
    group = Rollout.model_validate_json((run / "rollouts.jsonl").read_text().splitlines()[0])
    write_lines(
        run / "rollouts.jsonl", [group.model_copy(update={"group": (one, one), "left_out": evil[:200], **everywhere})]
    )
    visit = opened(browser, write_report([run], tmp_path / "report.html", "hostile"))
    for view in ("held", "train"):
        choose(visit, "view", view)
        rows(visit).first.click()
        shown = visit.page.locator("#rollout-browser .one .tokens").first.evaluate("one => one.textContent")
        assert shown == evil if len(evil) < 6_000 else shown.startswith(evil[:4_000]) and shown.endswith(evil[-2_000:])
        visit.page.fill("#rollout-text", evil[:50])
        visit.page.wait_for_timeout(200)
        assert tally(visit)[0] > 0
        visit.page.fill("#rollout-text", "")
    inside = visit.page.locator(
        "#rollout-browser :is(script, iframe, svg[onload], img:not([src^='data:image/']), a:not([href^='#']))"
    )
    assert inside.count() == 0
    assert (visit.dialogs, visit.console) == ([], [])
    assert [url for url in visit.requests if not url.startswith(("data:", "file:"))] == []
    visit.page.close()


def test_a_reply_that_was_cut_and_masked_says_so(browser: "Browser", tmp_path: Path) -> None:
    [run] = write_runs(tmp_path / "runs", per_family=1, arms={"grpo": ARMS["grpo"]})
    group = Rollout.model_validate_json((run / "rollouts.jsonl").read_text().splitlines()[0])
    cut = judged("and so on", 0.0, Status.WRONG_FORMAT, why="no <answer> block", stop=StopReason.LENGTH)
    broken = judged("7", None, Status.FAILED, why="the verifier broke")
    given = judged("so it is", 1.0, stop=StopReason.GIVEN)
    some: tuple[Judged, ...] = (cut, broken, given, *(judged("a", 1.0, advantage=0.0) for _ in range(2)))
    write_lines(run / "rollouts.jsonl", [group.model_copy(update={"group": some})])
    visit = opened(browser, write_report([run], tmp_path / "report.html", "cut"), f"#r/arm=0/step={group.step}")
    told = [card.inner_text() for card in visit.page.locator(".replies .one").all()]
    assert "cut at the length limit, and the recipe masks such replies" in told[0]
    assert "not trained on: failed, so there is no reward" in told[1]
    assert "a demonstration" in told[2] and "not trained" not in told[2]
    assert "zero variance" in told[3] and "Zero variance" in visit.page.locator(".banner").inner_text()
    visit.page.close()
