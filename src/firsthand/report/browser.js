"use strict";
// The rollout browser. Replies are untrusted: they become text nodes and nothing else, here and everywhere below.
(async () => {
  const root = document.getElementById("rollout-browser");
  if (!root) return;

  // ---- Elements

  /** An element; `props` are properties, those with a hyphen and `role` attributes; children are nodes or text. */
  const make = (tag, props = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props)) {
      if (name.includes("-") || name === "role") node.setAttribute(name, value);
      else node[name] = value;
    }
    node.append(...children.filter((child) => child !== null && child !== ""));
    return node;
  };
  const minus = (text) => text.replace("-", "−");
  const signed = (value, digits = 2) => (value > 0 ? "+" : "") + minus(value.toFixed(digits));
  const count = (n, one, many = one + "s") => n.toLocaleString("en") + " " + (n === 1 ? one : many);

  // ---- Records

  const unpack = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
  };
  const data = await unpack(document.getElementById("rollout-records").textContent.trim());
  const arms = new Map(data.arms.map(([index, name]) => [index, { index, name }]));
  const [CUT, DEMO, DISTORTED, TRAINED] = [1, 2, 4, 8];
  const outcomeOf = (score) => (score === null ? "unmeasured" : score >= 1 ? "right" : score > 0 ? "partly" : "wrong");
  const replyOf = (row) => {
    const [text, score, status, parsed, why, reward, advantage, flags, tokens, lengths, logps, tuned, change] = row;
    return {
      text, score, status, parsed, why, reward, advantage, tokens, lengths, logps, change,
      tuned: tuned === undefined ? null : data.tuned[tuned], outcome: outcomeOf(score), cut: !!(flags & CUT),
      demo: !!(flags & DEMO), distorted: !!(flags & DISTORTED), trained: !!(flags & TRAINED),
    };
  };
  const questions = data.questions.map(([id, family, question, gold, pictures]) => ({ id, family, question, gold, pictures }));
  const groups = data.groups.map(([run, step, group, question, leftOut, replies]) => {
    const shown = replies.map(replyOf);
    const credits = shown.filter((reply) => reply.advantage !== null);
    const [arm, seed] = data.runs[run];
    return {
      arm, seed, run, step, group, leftOut, question: questions[question], replies: shown,
      flat: credits.length > 0 && credits.every((reply) => reply.advantage === 0),
    };
  });
  const together = new Map();
  for (const row of data.held) together.set(row[2] + " " + row[3], [...(together.get(row[2] + " " + row[3]) ?? []), row]);
  const held = [...together.values()].map((rows) => ({
    table: rows[0][2], question: questions[rows[0][3]],
    entries: rows.map(([arm, seed, , , greedy, samples]) => ({
      arm, seed, greedy: greedy && replyOf(greedy), samples: samples.map(replyOf),
    })),
  }));
  for (const item of held) {
    item.replies = item.entries.flatMap((entry) => (entry.greedy ? [entry.greedy] : []).concat(entry.samples));
    item.heads = item.entries.map((entry) => entry.greedy ?? entry.samples[0]).filter(Boolean);
    item.disagree = new Set(item.heads.map((reply) => reply.outcome)).size > 1;
  }
  let pictureList = null; // parsed when the first one is shown
  const pictureAt = (place) => (pictureList ??= JSON.parse(document.getElementById("rollout-pictures").textContent))[place];

  // ---- State, and the link that stands for it: #r/arm=1/seed=0/step=12/group=3, filters behind

  const PLACE = ["view", "arm", "seed", "step", "group", "q", "table", "reply"];
  const FILTERS = ["of-arm", "of-seed", "from", "to", "family", "outcome", "min", "max", "text", "sort", "colour"];
  const DEFAULTS = { view: held.length ? "held" : "train", sort: "order", colour: "logp" };
  const blank = () => Object.fromEntries([...PLACE, ...FILTERS].map((name) => [name, DEFAULTS[name] ?? ""]));
  const linkOf = (state) => {
    const said = [...PLACE, ...FILTERS].filter((name) => state[name] !== "" && state[name] !== DEFAULTS[name]);
    return "#r/" + said.map((name) => name + "=" + encodeURIComponent(state[name])).join("/");
  };
  const decoded = (text) => {
    try { return decodeURIComponent(text); } catch { return text; }
  };
  const stateOf = (hash) => {
    const state = blank();
    for (const part of hash.slice(3).split("/")) {
      const [name, ...value] = part.split("=");
      if (name in state) state[name] = decoded(value.join("="));
    }
    if (!hash.includes("view=")) state.view = state.q ? "held" : state.step || state.arm ? "train" : state.view;
    return state;
  };
  let state = blank();
  let shownLink = null;
  let rows = []; // what the filters leave, in order
  let opened = null; // the item in the detail pane
  let goesIn = false; // whether the focus follows what is opened
  let active = -1; // the place in `rows` of the keyboard's row

  // ---- Filters

  const isNumber = (text) => text !== "" && Number.isFinite(Number(text));
  const wantsReply = () => state.outcome || state.min || state.max || state.text;
  const hasOutcome = (reply, wanted) =>
    wanted === "cut" ? reply.cut : wanted === "demonstration" ? reply.demo : wanted === "no loss" ? !reply.trained : reply.outcome === wanted;
  const WHOLE = ["left out", "no variance", "disagree", "mixed"];
  const isMixed = (item) => new Set(item.replies.map((reply) => reply.outcome)).size > 1;
  const fitsReply = (reply, needle) =>
    (!state.outcome || WHOLE.includes(state.outcome) || hasOutcome(reply, state.outcome)) &&
    (!isNumber(state.min) || (reply.tokens ?? -1) >= Number(state.min)) &&
    (!isNumber(state.max) || (reply.tokens ?? Infinity) <= Number(state.max)) &&
    (!needle || reply.text.toLowerCase().includes(needle));
  const fits = (item, needle) => {
    const { question } = item;
    if (state.family && question.family !== state.family) return false;
    if (state.outcome === "left out" && !item.leftOut) return false;
    if (state.outcome === "no variance" && !item.flat) return false;
    if (state.outcome === "disagree" && !item.disagree) return false;
    if (state.outcome === "mixed" && !isMixed(item)) return false;
    let replies = item.replies;
    if (item.entries) {
      const entries = item.entries.filter((entry) => ofArm(entry));
      if (!entries.length) return false;
      replies = entries.flatMap((entry) => (entry.greedy ? [entry.greedy] : []).concat(entry.samples));
    } else {
      if (!ofArm(item)) return false;
      if (isNumber(state.from) && item.step < Number(state.from)) return false;
      if (isNumber(state.to) && item.step > Number(state.to)) return false;
    }
    const asked = needle && (question.question.toLowerCase().includes(needle) || question.id === needle || question.gold.toLowerCase() === needle);
    return !wantsReply() || replies.some((reply) => fitsReply(reply, asked ? "" : needle));
  };
  const ofArm = (one) =>
    (state["of-arm"] === "" || String(one.arm) === state["of-arm"]) && (state["of-seed"] === "" || String(one.seed) === state["of-seed"]);
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : -1);
  const score = (item) => mean(item.replies.filter((reply) => reply.score !== null).map((reply) => reply.score));
  const longest = (item) => Math.max(...item.replies.map((reply) => reply.tokens ?? 0));
  const surprise = (item) => Math.max(...item.replies.map((reply) => (reply.logps?.length ? mean(reply.logps) : -1)));
  const spread = (item) => Math.max(...item.replies.map((reply) => Math.abs(reply.advantage ?? 0)));
  const SORTS = {
    order: ["as they came", null],
    latest: ["latest step first", (item) => item.step ?? 0],
    right: ["most right first", score],
    wrong: ["fewest right first", (item) => -score(item)],
    long: ["longest reply first", longest],
    short: ["shortest first", (item) => -longest(item)],
    surprise: ["least likely reply first", surprise],
    advantage: ["largest advantage first", spread],
  };
  const select = () => {
    const needle = state.text.toLowerCase();
    rows = (state.view === "held" ? held : groups).filter((item) => fits(item, needle));
    const by = SORTS[state.sort]?.[1];
    if (by) {
      const keys = new Map(rows.map((item) => [item, by(item)]));
      rows.sort((a, b) => keys.get(b) - keys.get(a));
    }
  };

  // ---- Places and links

  const placeOf = (item) =>
    item.entries
      ? { view: "held", q: item.question.id, table: item.table ? String(item.table) : "" }
      : { view: "train", arm: String(item.arm), seed: String(item.seed ?? ""), step: String(item.step), group: String(item.group) };
  const linkTo = (item, reply = "") => linkOf({ ...blank(), ...filtersOf(state), ...placeOf(item), reply: String(reply) });
  const filtersOf = (from) => Object.fromEntries(FILTERS.map((name) => [name, from[name]]));
  /** The item that a link means: of a step that is not here, the nearest one that is. */
  const find = (wanted) => {
    if (wanted.view === "held") {
      return held.find((item) => item.question.id === wanted.q && String(item.table) === (wanted.table || String(item.table))) ?? null;
    }
    if (wanted.step === "" && wanted.arm === "") return null;
    const of = groups.filter((item) =>
      (wanted.arm === "" || String(item.arm) === wanted.arm) && (wanted.seed === "" || String(item.seed ?? "") === wanted.seed));
    const far = (item) => Math.abs(item.step - Number(wanted.step || 0)) * 1e6 + Math.abs(item.group - Number(wanted.group || 0));
    return of.reduce((best, item) => (best === null || far(item) < far(best) ? item : best), null);
  };
  const missed = (wanted, item) =>
    item && !item.entries && wanted.step !== "" && String(item.step) !== wanted.step ? `Step ${wanted.step} is not on this page; this is the nearest that is.` : "";
  const go = (link, replace = false) => {
    if (link === location.hash) return;
    if (replace) location.replace(link);
    else location.hash = link;
    follow(); // the event comes later, and the next key may come before it
  };
  /** Write the state that is shown already into the address. */
  const note = () => {
    shownLink = linkOf(state);
    if (shownLink !== location.hash) location.replace(shownLink);
  };

  // ---- The toolbar

  const controls = {};
  const option = (value, text) => make("option", { value, textContent: text });
  const choice = (name, label, options) => {
    controls[name] = make("select", { id: "rollout-" + name, onchange: changed }, ...options);
    return make("label", {}, label + " ", controls[name]);
  };
  const entry = (name, label, props) => {
    controls[name] = make("input", { id: "rollout-" + name, oninput: typed, ...props });
    return make("label", {}, label + " ", controls[name]);
  };
  let pending = 0;
  function changed() {
    pending = 0;
    for (const name of [...FILTERS, "view"]) if (controls[name]) state[name] = controls[name].value;
    update();
    note();
  }
  function typed() {
    clearTimeout(pending);
    pending = setTimeout(changed, 120);
  }
  const settle = () => { // what was typed last, before the list is used: it would move the place afterwards
    clearTimeout(pending);
    if (pending) changed();
  };
  const families = [...new Set(questions.map((question) => question.family))].sort();
  const seeds = [...new Set([...groups, ...held.flatMap((item) => item.entries)].map((one) => one.seed))].filter((seed) => seed !== null).sort((a, b) => a - b);
  const steps = groups.length ? [groups, groups].map((all, i) => all.reduce((best, one) => (i ? Math.max : Math.min)(best, one.step), all[0].step)) : [0, 0];
  const OUTCOMES = [
    ["", "any"], ["right", "right"], ["partly", "partly right"], ["wrong", "wrong"], ["unmeasured", "unmeasured"],
    ["cut", "cut at the limit"], ["mixed", "replies differ"], ["disagree", "arms disagree"], ["no variance", "zero variance"],
    ["left out", "group left out"], ["no loss", "without a loss"], ["demonstration", "demonstration"],
  ];
  const COLOURS = [["logp", "log-prob"], ["change", "change by training"], ["advantage", "advantage"], ["mask", "loss mask"], ["plain", "nothing"]];
  const tally = make("output", { id: "rollout-count", className: "tally", "aria-live": "polite" });
  const bar = make("div", { className: "bar", role: "search", "aria-label": "Filter the rollouts" },
    choice("view", "Show", [...(held.length ? [option("held", "held-out questions")] : []), ...(groups.length ? [option("train", "training groups")] : [])]),
    choice("of-arm", "Arm", [option("", "any"), ...[...arms.values()].map((arm) => option(String(arm.index), arm.name))]),
    choice("of-seed", "Seed", [option("", "any"), ...seeds.map((seed) => option(String(seed), String(seed)))]),
    make("span", { className: "range" },
      entry("from", "Steps", { type: "number", min: steps[0], max: steps[1], placeholder: String(steps[0]), "aria-label": "First step" }),
      entry("to", "to", { type: "number", min: steps[0], max: steps[1], placeholder: String(steps[1]), "aria-label": "Last step" })),
    choice("family", "Family", [option("", "any"), ...families.filter(Boolean).map((family) => option(family, family))]),
    choice("outcome", "Reply", OUTCOMES.map(([value, text]) => option(value, text))),
    make("span", { className: "range" },
      entry("min", "Tokens", { type: "number", min: 0, placeholder: "0", "aria-label": "Fewest tokens" }),
      entry("max", "to", { type: "number", min: 0, placeholder: "any", "aria-label": "Most tokens" })),
    entry("text", "Search", { type: "search", placeholder: "in replies and questions  /" }),
    choice("sort", "Sort", Object.entries(SORTS).map(([value, [text]]) => option(value, text))),
    tally,
    make("button", { type: "button", className: "plain", textContent: "? keys", onclick: () => help.showModal() }),
  );

  // ---- The list: only the rows in sight are in the document

  const ROW = 58; // CSS pixels, as in browser.css
  const GLYPHS = { right: "✓", partly: "◐", wrong: "✗", unmeasured: "?" };
  const space = make("div", { className: "space", role: "presentation" });
  const list = make("div", { id: "rollout-list", className: "list", tabIndex: 0, role: "listbox", "aria-label": "Rollouts" }, space);
  const drawn = new Map(); // place -> row
  const dot = (reply) => make("i", { className: "dot " + reply.outcome, textContent: GLYPHS[reply.outcome] });
  const badge = (text) => make("span", { className: "badge", textContent: text });
  const keys = new Map([...document.querySelectorAll("#rollout-keys > span")].map((span) => [Number(span.dataset.index), span.firstElementChild]));
  const key = (arm) => keys.get(arm)?.cloneNode(true) ?? "";
  const named = (item) => `${arms.get(item.arm).name}${seeds.length > 1 && item.seed !== null ? " s" + item.seed : ""}`;
  const worded = (item) =>
    item.entries
      ? `${item.question.family}: ${item.question.question}`
      : `${named(item)}, step ${item.step}, group ${item.group}, ${item.question.family}: ${item.replies.filter((r) => r.outcome === "right").length} of ${item.replies.length} right${item.leftOut ? ", left out" : ""}`;
  const rowOf = (place) => {
    const item = rows[place];
    const dots = make("span", { className: "dots", "aria-hidden": "true" });
    const head = make("span", { className: "head" });
    if (item.entries) {
      head.append(make("b", { textContent: item.question.family || "no family" }));
      if (data.tables.length > 1) head.append(make("small", { textContent: data.tables[item.table] }));
      for (const one of item.entries.slice(0, 16)) {
        const reply = one.greedy ?? one.samples[0];
        if (reply) dots.append(make("span", { className: "by" }, key(one.arm), dot(reply)));
      }
    } else {
      head.append(key(item.arm), make("b", { textContent: named(item) }), ` step ${item.step}`, make("small", { textContent: item.question.family }));
      if (item.leftOut) head.append(badge("left out"));
      else if (item.flat) head.append(badge("no variance"));
      for (const reply of item.replies.slice(0, 16)) dots.append(dot(reply));
    }
    const row = make("div", {
      className: "row", id: "rollout-row-" + place, role: "option",
      "aria-label": worded(item), "aria-setsize": rows.length, "aria-posinset": place + 1,
    }, head, dots, make("span", { className: "ask", textContent: item.question.question }));
    row.style.transform = `translateY(${place * ROW}px)`;
    row.place = place;
    return row;
  };
  const drawList = (afresh = false) => {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
    const last = Math.min(rows.length - 1, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
    for (const [place, row] of drawn) {
      if (afresh || place < first || place > last) {
        row.remove();
        drawn.delete(place);
      }
    }
    for (let place = first; place <= last; place++) {
      if (drawn.has(place)) continue;
      const row = rowOf(place);
      drawn.set(place, row);
      space.append(row);
    }
    for (const [place, row] of drawn) {
      const isOpen = rows[place] === opened;
      row.classList.toggle("open", isOpen);
      row.classList.toggle("active", place === active);
      row.setAttribute("aria-selected", String(isOpen));
    }
    if (drawn.has(active)) list.setAttribute("aria-activedescendant", "rollout-row-" + active);
    else list.removeAttribute("aria-activedescendant");
  };
  let frame = 0;
  list.addEventListener("scroll", () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      drawList();
    });
  }, { passive: true });
  const intoSight = (place) => {
    const top = place * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  };
  const activate = (place) => {
    active = Math.max(0, Math.min(rows.length - 1, place));
    intoSight(active);
    drawList();
  };
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    active = row.place;
    go(linkTo(rows[row.place]));
  });

  // ---- Tokens

  const BINS = {
    logp: [["l0", "likelier than 90 %"], ["l1", "50 to 90 %"], ["l2", "10 to 50 %"], ["l3", "below 10 %"]],
    change: [["d0", "less likely by over 1 nat"], ["d1", "less likely by 0.1 to 1"], ["", "within 0.1"], ["u1", "likelier by 0.1 to 1"], ["u0", "likelier by over 1 nat"]],
    advantage: [["d0", "pushed down, below −1"], ["d1", "pushed down"], ["", "0"], ["u1", "pushed up"], ["u0", "pushed up, above +1"]],
    mask: [["", "with a loss"], ["off", "without a loss"]],
    plain: [],
  };
  const logpBin = (hundredths) => (hundredths <= 10.5 ? "l0" : hundredths <= 69.3 ? "l1" : hundredths <= 230 ? "l2" : "l3");
  const signedBin = (value, small, large) => (value <= -large ? "d0" : value < -small ? "d1" : value <= small ? "" : value < large ? "u1" : "u0");
  const binOf = (reply, i) => {
    switch (state.colour) {
      case "logp": return reply.logps?.[i] === undefined ? "" : logpBin(reply.logps[i]);
      case "change": return reply.change?.[i] === undefined ? "" : signedBin(reply.change[i] / 100, 0.1, 1);
      case "advantage": return signedBin(reply.advantage ?? 0, 0.0005, 1);
      case "mask": return reply.trained ? "" : "off";
      default: return "";
    }
  };
  const tokenText = (reply, i) => {
    const said = [`token ${i + 1} of ${reply.lengths.length}`];
    if (reply.logps?.[i] !== undefined) said.push(`log-prob ${signed(-reply.logps[i] / 100)} (${(100 * Math.exp(-reply.logps[i] / 100)).toPrecision(3)} %)`);
    if (reply.change?.[i] !== undefined) said.push(`changed by ${signed(reply.change[i] / 100)} nats in ${reply.tuned}`);
    if (reply.advantage !== null) said.push(`advantage ${signed(reply.advantage)}`);
    return said.join(", ");
  };
  /** The reply as text nodes, a span for each token; long replies of one colour stay one node where nothing is known. */
  const textOf = (reply) => {
    const pre = make("pre", { className: "text tokens", tabIndex: 0, role: "group", "aria-label": "Reply, token by token with the left and right arrow keys" });
    pre.dir = "auto";
    if (!reply.lengths) {
      pre.append(make("span", { className: binOf(reply, 0), textContent: reply.text }));
      return pre;
    }
    let at = 0;
    reply.lengths.forEach((length, i) => {
      const token = make("span", { className: binOf(reply, i) || "t", textContent: reply.text.slice(at, at + length) || "∎" });
      if (!length) token.classList.add("end");
      token.token = i;
      pre.append(token);
      at += length;
    });
    if (at < reply.text.length) pre.append(reply.text.slice(at));
    return pre;
  };
  const legend = () => {
    const bins = BINS[state.colour];
    return make("ul", { className: "bins", "aria-label": "Colours of the tokens" }, ...bins.map(([name, text]) => make("li", {}, make("span", { className: name, textContent: "token" }), " " + text)));
  };

  // ---- The detail pane

  const detail = make("div", { className: "detail", tabIndex: -1, role: "region", "aria-label": "The opened rollout" });
  const markOf = (reply) => make("span", { className: "mark " + reply.outcome, textContent: reply.outcome === "partly" ? `partly ${reply.score.toFixed(2)}` : reply.outcome });
  const leftOutOf = (reply, item) => {
    if (item.leftOut) return `not trained on: ${item.leftOut}`;
    if (reply.trained) return item.flat && !reply.demo ? "zero variance: the rewards of its group agree, so it pulls nowhere" : "";
    if (reply.score === null) return `not trained on: ${reply.status}, so there is no reward`;
    return reply.cut ? "not trained on: cut at the length limit, and the recipe masks such replies" : "not trained on";
  };
  const facts = (reply, item) => {
    const said = make("p", { className: "judged" });
    said.append(...(reply.parsed === null ? ["nothing read"] : ["read as ", make("code", { textContent: reply.parsed })]), reply.why ? "; " + reply.why : "");
    const numbers = [reply.status, "score " + (reply.score === null ? "—" : minus(String(reply.score)))];
    if (!item.entries && reply.reward !== null && reply.reward !== reply.score) numbers.push("reward " + minus(String(reply.reward)));
    numbers.push(reply.tokens === null ? "tokens not counted" : count(reply.tokens, "token"));
    if (reply.logps?.length) numbers.push(`mean log-prob ${signed(-mean(reply.logps) / 100)}`);
    const line = make("span", { textContent: numbers.join(", ") });
    if (reply.cut) line.append(", ", make("b", { textContent: "cut at the length limit" }));
    if (reply.demo) line.append(", ", make("b", { textContent: "a demonstration" }));
    if (reply.distorted) line.append(", ", make("b", { textContent: "written to a distorted picture" }));
    said.append(line);
    const why = item.entries ? "" : leftOutOf(reply, item);
    if (why) said.append(make("b", { className: "why-not", textContent: why }));
    return said;
  };
  const creditOf = (reply) => {
    if (reply.advantage === null) return null;
    const width = Math.min(Math.abs(reply.advantage), 2.5) / 2.5 * 50;
    const bar = make("i", { className: reply.advantage > 0 ? "up" : "down" });
    bar.style.width = width + "%";
    bar.style.marginLeft = reply.advantage > 0 ? "50%" : 50 - width + "%";
    return make("span", { className: "credit" }, make("span", { className: "rail", "aria-hidden": "true" }, bar), `advantage ${reply.advantage ? signed(reply.advantage) : "0"}`);
  };
  const cardOf = (reply, item, title, number) => {
    const card = make("article", { className: "one", tabIndex: -1, id: "rollout-reply-" + number, "aria-label": `${title}, ${reply.outcome}` });
    const anchor = make("a", { href: linkTo(item, number), textContent: title, title: "Link to this reply" });
    card.append(make("h4", {}, anchor, markOf(reply)), creditOf(reply) ?? "", textOf(reply), facts(reply, item), make("p", { className: "read-out", "aria-live": "polite" }));
    card.reply = reply;
    if (wantsReply() && fitsReply(reply, state.text.toLowerCase())) card.classList.add("hit");
    if (state.reply === String(number)) card.classList.add("meant");
    return card;
  };
  const picturesOf = (question) =>
    question.pictures.map((place, i) => {
      const found = pictureAt(place);
      if (!found) return make("p", { className: "gone", textContent: "This picture is not on the page." });
      const [src, width, height, pixelated] = found;
      return make("img", { src, width, height, decoding: "async", alt: `Picture ${i + 1} of question ${question.id}`, className: pixelated ? "pixelated" : "" });
    });
  const headOf = (item) =>
    item.entries
      ? `Held-out question${data.tables.length > 1 ? `, ${data.tables[item.table]}` : ""}`
      : `${arms.get(item.arm).name}${item.seed === null ? "" : `, seed ${item.seed}`}, step ${item.step}, group ${item.group}`;
  const colourBar = () => {
    const known = { change: opened.replies.some((reply) => reply.change), logp: opened.replies.some((reply) => reply.logps?.length), advantage: !opened.entries, mask: !opened.entries };
    const buttons = COLOURS.map(([value, text]) =>
      make("button", {
        type: "button", textContent: text, "aria-pressed": String(state.colour === value), disabled: known[value] === false,
        title: known[value] === false ? "not known for these replies" : "", onclick: () => recolour(value),
      }));
    return make("div", { className: "colours", role: "group", "aria-label": "Colour the tokens by" }, make("span", { textContent: "Tokens by " }), ...buttons, legend());
  };
  const recolour = (value) => {
    state.colour = value;
    show(opened);
    detail.querySelector(".colours [aria-pressed=true]").focus();
    note();
  };
  const elsewhere = (item) => {
    const times = groups.filter((other) => other.question === item.question && other !== item);
    const out = held.filter((other) => other.question === item.question && other !== item);
    if (!times.length && !out.length) return "";
    times.sort((a, b) => a.step - b.step || a.arm - b.arm);
    const lines = times.slice(0, 60).map((other) => {
      const right = other.replies.filter((reply) => reply.outcome === "right").length;
      return make("li", {}, make("a", { href: linkTo(other) }, key(other.arm), `step ${other.step}, ${named(other)}`), make("span", { className: "dots", "aria-hidden": "true" }, ...other.replies.slice(0, 16).map(dot)), make("small", { textContent: `${right} of ${other.replies.length} right` }));
    });
    lines.push(...out.map((other) => make("li", {}, make("a", { href: linkTo(other), textContent: "held-out, every arm" }))));
    return make("section", { className: "elsewhere" }, make("h4", { textContent: `The same question elsewhere: ${count(times.length + out.length, "time")}` }), make("ol", {}, ...lines));
  };
  const neighbour = (step, text) => {
    const place = rows.indexOf(opened) + step;
    const item = rows.includes(opened) ? rows[place] : rows[0];
    return item ? make("a", { href: linkTo(item), className: "turn", textContent: text }) : make("span", { className: "turn muted", textContent: text });
  };
  const groupBody = (item) => [
    item.leftOut ? make("p", { className: "banner" }, make("b", { textContent: "The step did not train on this group: " }), item.leftOut) : "",
    !item.leftOut && item.flat ? make("p", { className: "banner" }, make("b", { textContent: "Zero variance: " }), "all rewards agree, every advantage is 0, and there is nothing to learn from the comparison.") : "",
    make("div", { className: "replies" }, ...item.replies.map((reply, i) => cardOf(reply, item, reply.demo ? "demonstration" : `reply ${i + 1}`, i))),
  ];
  const heldBody = (item) => {
    let number = 0;
    const shown = item.entries.filter(ofArm);
    return [make("div", { className: "replies" }, ...shown.map((one) => {
      const column = make("div", { className: "arm-column" }, make("h4", { className: "who" }, key(one.arm), named(one)));
      if (one.greedy) column.append(cardOf(one.greedy, item, "greedy", number++));
      if (one.samples.length) {
        const right = one.samples.filter((reply) => reply.outcome === "right").length;
        const from = number;
        number += one.samples.length;
        const isMeant = state.reply !== "" && Number(state.reply) >= from && Number(state.reply) < number;
        const more = make("details", { open: isMeant || (wantsReply() && one.samples.some((reply) => fitsReply(reply, state.text.toLowerCase()))) }, make("summary", {}, `${count(one.samples.length, "sample")}, ${right} right `, make("span", { className: "dots", "aria-hidden": "true" }, ...one.samples.slice(0, 16).map(dot))));
        const fill = () => {
          if (more.open && more.childElementCount === 1) more.append(...one.samples.map((reply, i) => cardOf(reply, item, `sample ${i + 1}`, from + i)));
        };
        more.addEventListener("toggle", fill);
        fill();
        column.append(more);
      }
      return column;
    }))];
  };
  const show = (item) => {
    opened = item;
    root.classList.toggle("has-open", item !== null);
    if (!item) {
      detail.replaceChildren(make("p", { className: "muted", textContent: rows.length ? "Choose a row." : "Nothing fits these filters." }));
      return;
    }
    const { question } = item;
    const away = missed(state, item);
    detail.replaceChildren(
      make("div", { className: "title" },
        make("h3", { tabIndex: -1 }, item.entries ? "" : key(item.arm), headOf(item)),
        make("span", { className: "turns" }, neighbour(-1, "← previous"), neighbour(1, "next →"), make("button", { type: "button", className: "plain back", textContent: "list", onclick: toList }))),
      away ? make("p", { className: "banner", textContent: away }) : "",
      make("div", { className: "asked" },
        make("div", { className: "shots" }, ...picturesOf(question)),
        make("div", {},
          make("p", { className: "question", textContent: question.question }),
          make("p", { className: "gold" }, make("span", { className: "muted", textContent: "Gold " }), make("code", { textContent: question.gold })),
          make("p", { className: "caption" }, make("b", { textContent: question.family || "no family" }), " ", make("code", { textContent: question.id })),
          elsewhere(item))),
      colourBar(),
      ...(item.entries ? heldBody(item) : groupBody(item)).filter(Boolean),
    );
    const meant = detail.querySelector(".meant");
    if (meant) meant.scrollIntoView({ block: "nearest" });
  };
  const readOut = (card, i) => {
    const pre = card.querySelector(".tokens");
    for (const token of pre.querySelectorAll(".now")) token.classList.remove("now");
    const token = [...pre.children].find((one) => one.token === i);
    if (!token) return;
    token.classList.add("now");
    pre.now = i;
    card.querySelector(".read-out").textContent = `“${token.textContent.trim() || "space"}”: ${tokenText(card.reply, i)}`;
  };
  detail.addEventListener("mouseover", (event) => {
    if (event.target.token !== undefined) readOut(event.target.closest(".one"), event.target.token);
  });
  detail.addEventListener("focusin", (event) => {
    if (event.target.classList.contains("tokens")) readOut(event.target.closest(".one"), event.target.now ?? 0);
  });

  // ---- Keys

  const KEYS = [
    ["j, k", "next and previous rollout"], ["↑ ↓ Home End PageUp PageDown", "move in the list"], ["Enter", "open the row, and go to it"],
    ["Esc", "back to the list; out of the search"], ["Tab", "from reply to reply"], ["← →", "from token to token, in a reply"],
    ["c", "colour the tokens by the next thing"], ["/", "search"], ["?", "this help"],
  ];
  const help = make("dialog", { className: "card", "aria-label": "Keys" }, make("h3", { textContent: "Keys" }),
    make("dl", {}, ...KEYS.flatMap(([keys, text]) => [make("dt", {}, make("kbd", { textContent: keys })), make("dd", { textContent: text })])),
    make("form", { method: "dialog" }, make("button", { textContent: "Close" })));
  const toList = () => {
    root.classList.remove("has-open");
    settle();
    if (active >= 0) intoSight(active);
    drawList();
    list.focus();
  };
  const turn = (by) => {
    const from = rows.includes(opened) ? rows.indexOf(opened) : active;
    const item = rows[Math.max(0, Math.min(rows.length - 1, from + by))];
    if (item) go(linkTo(item), true);
  };
  const MOVES = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };
  const inList = (event) => {
    if (event.key in MOVES) {
      const by = MOVES[event.key];
      activate(by === -Infinity ? 0 : by === Infinity ? rows.length - 1 : active + by);
      return true;
    }
    if (event.key !== "Enter" || !rows[active]) return false;
    goesIn = location.hash !== linkTo(rows[active]);
    if (goesIn) go(linkTo(rows[active]));
    else detail.querySelector("h3")?.focus();
    return true;
  };
  const inTokens = (pre, event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return false;
    readOut(pre.closest(".one"), Math.max(0, Math.min(pre.children.length - 1, (pre.now ?? 0) + by)));
    return true;
  };
  const anywhere = (event) => {
    if (event.key === "j") turn(1);
    else if (event.key === "k") turn(-1);
    else if (event.key === "/") controls.text.focus();
    else if (event.key === "?") help.showModal();
    else if (event.key === "c" && opened) recolour(nextColour());
    else if (event.key === "Escape") toList();
    else return false;
    return true;
  };
  const nextColour = () => {
    const able = [...detail.querySelectorAll(".colours button")];
    for (let i = 1; i <= COLOURS.length; i++) {
      const place = (COLOURS.findIndex(([value]) => value === state.colour) + i) % COLOURS.length;
      if (!able[place].disabled) return COLOURS[place][0];
    }
    return state.colour;
  };
  const inSight = () => {
    const box = root.getBoundingClientRect();
    return box.top < innerHeight * 0.7 && box.bottom > innerHeight * 0.3;
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || !inSight()) return;
    const { target } = event;
    const isEntry = target.matches("input, select, textarea");
    let done = false;
    if (isEntry) done = event.key === "Escape" && root.contains(target) && (toList(), true);
    else if (target === list) done = inList(event) || anywhere(event);
    else if (target.classList.contains("tokens")) done = inTokens(target, event) || anywhere(event);
    else if (!target.closest("dialog")) done = anywhere(event);
    if (done) event.preventDefault();
  });

  // ---- Beginning, and whenever the link changes

  const update = () => {
    const before = rows;
    select();
    const isNew = rows.length !== before.length || rows.some((item, place) => item !== before[place]);
    for (const [name, control] of Object.entries(controls)) if (control.value !== state[name]) control.value = state[name];
    for (const name of ["from", "to"]) controls[name].disabled = state.view === "held";
    const all = state.view === "held" ? held.length : groups.length;
    tally.textContent = `${rows.length.toLocaleString("en")} of ${count(all, state.view === "held" ? "question" : "group")}`;
    active = rows.indexOf(opened);
    const height = rows.length * ROW + "px";
    if (space.style.height !== height) space.style.height = height;
    if (active >= 0) intoSight(active);
    drawList(isNew);
  };
  // What asks for places comes first: after a change, such a question has everything laid out at once.
  const follow = () => {
    const isOurs = location.hash.startsWith("#r/");
    const link = isOurs ? location.hash : "";
    if (link === shownLink) return;
    const isFirst = shownLink === null;
    const isThere = !isFirst && inSight();
    if (detail.scrollTop) detail.scrollTop = 0;
    shownLink = link;
    state = isOurs ? stateOf(link) : { ...blank(), ...(isFirst ? {} : filtersOf(state)), view: state.view };
    if (isFirst) update();
    const item = find(state) ?? (isOurs && !isFirst ? opened : null) ?? (isFirst ? rows[0] ?? null : opened);
    opened = item;
    update();
    show(item);
    if (!isOurs) root.classList.remove("has-open");
    if (goesIn) detail.querySelector("h3")?.focus();
    goesIn = false;
    if (isOurs && !isThere) document.getElementById("rollouts").scrollIntoView({ behavior: "instant" });
  };
  root.append(bar, make("div", { className: "panes" }, list, detail), help);
  root.hidden = false;
  addEventListener("hashchange", follow);
  addEventListener("resize", () => drawList());
  follow();
  root.dataset.ready = String(Math.round(performance.now()));
})();
