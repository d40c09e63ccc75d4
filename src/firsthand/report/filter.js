"use strict";
{
  const find = (id) => document.getElementById(id);
  const bar = find("filters");
  const items = [...document.querySelectorAll(".item")];
  const fits = (item, family, arm, outcome) => {
    if (family && item.dataset.family !== family) return false;
    const words = item.dataset.outcomes.split(" ");
    if (outcome === "disagree") return "disagree" in item.dataset && (!arm || words.some((w) => w.startsWith(arm + ":")));
    return words.some((w) => {
      const [itsArm, itsOutcome] = w.split(":");
      return (!arm || itsArm === arm) && (!outcome || itsOutcome === outcome);
    });
  };
  const apply = () => {
    const [family, arm, outcome] = ["family", "arm", "outcome"].map((name) => find("filter-" + name).value);
    for (const item of items) item.hidden = (family || arm || outcome) && !fits(item, family, arm, outcome);
    find("filter-count").textContent = items.filter((item) => !item.hidden).length + " of " + items.length + " shown";
  };
  if (bar) {
    bar.hidden = false;
    bar.addEventListener("change", apply);
    apply();
  }
}
