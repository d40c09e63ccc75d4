"use strict";
{
  const make = (name, parent, className) => {
    const element = document.createElementNS(parent.namespaceURI, name);
    element.setAttribute("class", className);
    return parent.appendChild(element);
  };
  const tip = make("div", document.body, "tip");
  const spoken = make("p", document.body, "sr");
  tip.hidden = true;
  spoken.setAttribute("role", "status");

  // The bold line's path has one place for each pair of data-points.
  const lineOf = (group) => {
    const places = [...group.querySelector(".smooth").getAttribute("d").matchAll(/[ML]([-\d.]+) ([-\d.]+)/g)];
    const values = group.dataset.points.split(" ").map((pair) => pair.split(","));
    return {
      group,
      arm: group.dataset.arm,
      name: group.dataset.name,
      points: places.map(([, x, y], i) => ({ x: +x, y: +y, step: values[i][0], value: values[i][1] })),
    };
  };
  const nearest = (points, x) => points.reduce((best, p, i) => (Math.abs(p.x - x) < Math.abs(points[best].x - x) ? i : best), 0);

  const watch = (chart) => {
    const lines = [...chart.querySelectorAll("g[data-points]")].map(lineOf).filter((line) => line.points.length);
    if (!lines.length) return;
    const isTraining = chart.dataset.x === "step";
    const visible = () => lines.filter((line) => !line.group.classList.contains("off"));
    const guide = make("line", chart, "guide");
    const ring = make("circle", chart, "ring");
    ring.setAttribute("r", 5);
    let at = null; // [line, index of its point]

    const hide = () => {
      at = null;
      tip.hidden = true;
      guide.setAttribute("class", "guide");
      ring.setAttribute("class", "ring");
    };
    const show = (line, i, aloud) => {
      at = [line, i];
      const point = line.points[i];
      const box = chart.getBoundingClientRect();
      const scale = box.width / chart.viewBox.baseVal.width;
      guide.setAttribute("class", "guide on");
      for (const [name, value] of [["x1", point.x], ["x2", point.x], ["y1", 8], ["y2", 166]]) guide.setAttribute(name, value);
      ring.setAttribute("class", "ring on " + line.group.getAttribute("class"));
      ring.setAttribute("cx", point.x);
      ring.setAttribute("cy", point.y);
      tip.replaceChildren();
      make("b", tip, "").textContent = `${chart.dataset.x} ${point.step}`;
      for (const other of visible()) {
        const near = other === line ? point : other.points.find((p) => p.step === point.step);
        if (!near) continue;
        const row = make("div", tip, other === line ? "told" : "");
        row.append(chart.closest("figure")?.querySelector(`.legend [data-arm="${other.arm}"] .key`)?.cloneNode(true) ?? "");
        make("span", row, "").textContent = other.name;
        make("span", row, "value").textContent = near.value;
      }
      if (isTraining && document.getElementById("rollouts")) make("small", tip, "").textContent = "Click or Enter: the rollouts";
      tip.hidden = false;
      const left = box.left + point.x * scale + 14;
      const fits = left + tip.offsetWidth < document.documentElement.clientWidth - 4;
      tip.style.left = `${Math.max(4, fits ? left : left - tip.offsetWidth - 28)}px`;
      tip.style.top = `${Math.max(4, Math.min(box.top + point.y * scale - 20, innerHeight - tip.offsetHeight - 4))}px`;
      if (aloud) spoken.textContent = `${line.name}, ${chart.dataset.x} ${point.step}: ${point.value}`;
    };
    const pick = (event) => {
      const box = chart.getBoundingClientRect();
      const scale = chart.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
      const found = visible().map((line) => [line, nearest(line.points, x)]);
      if (!found.length) return null;
      const away = ([line, i]) => Math.abs(line.points[i].x - x);
      const least = Math.min(...found.map(away));
      const high = ([line, i]) => Math.abs(line.points[i].y - y);
      return found.filter((one) => away(one) <= least + 4).reduce((best, one) => (high(one) < high(best) ? one : best));
    };
    const open = () => {
      if (at && isTraining && document.getElementById("rollouts")) location.hash = `r/arm=${at[0].arm}/step=${at[0].points[at[1]].step}`;
    };

    chart.setAttribute("tabindex", "0");
    chart.setAttribute("aria-description", "Arrow keys read the values, up and down change the arm" + (isTraining ? ", Enter opens the rollouts of the step" : ""));
    chart.addEventListener("pointermove", (event) => {
      const found = event.pointerType === "touch" ? null : pick(event);
      if (found) show(...found, false);
    });
    chart.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && hide());
    let touched = false;
    chart.addEventListener("pointerdown", (event) => (touched = event.pointerType === "touch"));
    chart.addEventListener("click", (event) => {
      const found = pick(event);
      const again = found && at && found[0] === at[0] && found[1] === at[1];
      if (found) show(...found, false);
      if (found && (!touched || again)) open(); // the first touch reads, the second one follows
    });
    chart.addEventListener("blur", hide);
    chart.addEventListener("focus", () => {
      const [line] = visible();
      if (line && !at && chart.matches(":focus-visible")) show(line, line.points.length - 1, true);
    });
    chart.addEventListener("keydown", (event) => {
      const shown = visible();
      if (event.key === "Escape") return hide();
      if (!shown.length) return;
      const [line, i] = at && shown.includes(at[0]) ? at : [shown[0], shown[0].points.length - 1];
      const turn = (by) => {
        const other = shown[(shown.indexOf(line) + by + shown.length) % shown.length];
        return [other, nearest(other.points, line.points[i].x)];
      };
      const last = line.points.length - 1;
      const go = {
        ArrowLeft: () => [line, Math.max(0, i - 1)],
        ArrowRight: () => [line, Math.min(last, i + 1)],
        ArrowUp: () => turn(-1),
        ArrowDown: () => turn(1),
        Home: () => [line, 0],
        End: () => [line, last],
      }[event.key];
      if (event.key === "Enter") open();
      else if (go) show(...go(), true);
      else return;
      event.preventDefault();
    });
  };
  document.querySelectorAll("svg.chart[data-x]").forEach(watch);
  addEventListener("scroll", () => (tip.hidden = true), { passive: true });

  // A legend's names hide and show their arm in every chart.
  const items = [...document.querySelectorAll(".legend [data-arm]")];
  const arms = [...new Set(items.map((item) => item.dataset.arm))];
  const hidden = new Set();
  const apply = () => {
    for (const one of document.querySelectorAll("[data-arm]")) {
      one.classList.toggle("off", hidden.has(one.dataset.arm));
      one.querySelector(":scope > button")?.setAttribute("aria-pressed", String(!hidden.has(one.dataset.arm)));
    }
  };
  const toggle = (arm, alone) => {
    const others = arms.filter((one) => one !== arm);
    if (alone) {
      const isAlone = !hidden.has(arm) && others.every((one) => hidden.has(one));
      hidden.clear();
      if (!isAlone) others.forEach((one) => hidden.add(one));
    } else if (!hidden.delete(arm)) hidden.add(arm);
    apply();
  };
  for (const item of items) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...item.childNodes);
    item.append(button);
    button.addEventListener("click", (event) => toggle(item.dataset.arm, event.shiftKey));
  }
  document.querySelectorAll("[data-scripted]").forEach((one) => (one.hidden = false));
  apply();
}
