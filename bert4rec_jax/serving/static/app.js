// The page: search, history, recommendations. Titles are strangers' text: textContent only.

import { newest } from "./call.js";
import { drag } from "./drag.js";

const $ = (id) => document.getElementById(id);
const KEPT = "history"; // in the tab's own storage: a reload of the page loses nothing
let history = kept(); // [{item, title}], oldest first

function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT)) ?? [];
    return found.filter((row) => typeof row.item === "string");
  } catch {
    return [];
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

const nameOf = (row) => row.title ?? row.item;

function button(text, label, onClick) {
  const made = element("button", "", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.title = label;
  made.addEventListener("click", onClick);
  return made;
}

const say = (text) => { $("said").textContent = text; };

const callItems = newest();
const callRecommend = newest();

// Search

async function search() {
  const q = $("search").value;
  const found = await callItems(`items?${new URLSearchParams({ q, limit: 12 })}`);
  if (found === null) return;
  const count = found.items.length;
  $("found").textContent = !q.trim()
    ? "The most frequent items"
    : count === 0
      ? "Nothing found"
      : count === 12
        ? "The first 12 found"
        : `${count} found`;
  $("results").replaceChildren(
    ...found.items.map((row) => {
      const line = element("li");
      const pick = button("", `Add ${nameOf(row)} to the history`, () => add(row));
      pick.className = "pick";
      pick.append(element("span", "name", nameOf(row)));
      if (row.title !== null) pick.append(element("span", "id", row.item));
      pick.append(element("span", "add", "+"));
      line.append(pick);
      return line;
    }),
  );
}

let typing;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(search, 120);
});

// The arrow keys go from the search field through the results and back.
$("search").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") {
    event.preventDefault();
    $("results").querySelector("button")?.focus();
  }
});
for (const list of [$("results"), $("recommended")]) {
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    event.preventDefault();
    const line = event.target.closest("li");
    const down = event.key === "ArrowDown";
    const next = down ? line.nextElementSibling : line.previousElementSibling;
    if (next) next.querySelector("button").focus();
    else if (!down && list === $("results")) $("search").focus();
  });
}

// History

function add(row) {
  history.push({ item: row.item, title: row.title });
  say(`${nameOf(row)} added as number ${history.length}`);
  changed();
}

function remove(index) {
  const [row] = history.splice(index, 1);
  say(`${nameOf(row)} removed`);
  changed();
  const lines = $("history").children;
  const next = lines[Math.min(index, lines.length - 1)];
  (next?.querySelector(".remove") ?? $("search")).focus();
}

function move(from, to, focus) {
  if (to < 0 || to >= history.length || to === from) return;
  const [row] = history.splice(from, 1);
  history.splice(to, 0, row);
  say(`${nameOf(row)} moved to number ${to + 1} of ${history.length}`);
  changed();
  const line = $("history").children[to];
  if (!focus) return;
  const same = line.querySelector(`.${focus}`);
  (same.disabled ? line.querySelector("button:not(:disabled)") : same).focus();
}

function changed() {
  sessionStorage.setItem(KEPT, JSON.stringify(history));
  drawHistory();
  recommend();
}

function drawHistory() {
  $("clear").hidden = history.length === 0;
  $("history-note").textContent = history.length
    ? "Oldest first. Drag by the dots, or move with the arrows."
    : "Nothing yet: pick items from the catalogue or the recommendations.";
  $("history").replaceChildren(
    ...history.map((row, index) => {
      const line = element("li");
      const grip = element("span", "grip", "⠿");
      grip.setAttribute("aria-hidden", "true"); // the arrows do the same
      grip.addEventListener("pointerdown", (event) => drag(event, line, move));
      const name = element("span", "name", nameOf(row));
      const up = button("↑", `Move ${nameOf(row)} up`, () => move(index, index - 1, "up"));
      const down = button("↓", `Move ${nameOf(row)} down`, () => move(index, index + 1, "down"));
      const away = button("×", `Remove ${nameOf(row)}`, () => remove(index));
      up.classList.add("up");
      down.classList.add("down");
      away.classList.add("remove");
      up.disabled = index === 0;
      down.disabled = index === history.length - 1;
      line.append(grip, name, up, down, away);
      line.addEventListener("keydown", (event) => {
        if (event.key === "Delete") remove(index);
        else if (event.altKey && event.key === "ArrowUp") move(index, index - 1, "up");
        else if (event.altKey && event.key === "ArrowDown") move(index, index + 1, "down");
        else return;
        event.preventDefault();
      });
      return line;
    }),
  );
}

$("clear").addEventListener("click", () => {
  history = [];
  say("History cleared");
  changed();
  $("search").focus();
});

// Recommendations

async function recommend() {
  const explain = $("explain").checked;
  const asked = {
    histories: [history.map((row) => row.item)],
    k: Number($("k").value),
    explain,
  };
  const found = await callRecommend("recommend", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(asked),
  });
  if (found === null) return;
  const [result] = found.results;
  drawRecommended(result);
  drawAttention(result.attention, explain);
}

function drawRecommended(result) {
  $("recommended-note").textContent = result.popular
    ? "The most popular items, with how often they were used: there is no history yet."
    : "With the model's scores; higher is better. Pick one to go on from there.";
  $("recommended").replaceChildren(
    ...result.items.map((row, index) => {
      const score = row.score.toFixed(result.popular ? 0 : 2);
      const line = element("li");
      const label = `Add ${nameOf(row)} to the history, score ${score}`;
      const pick = button("", label, () => add(row));
      pick.className = "pick";
      pick.append(
        element("span", "place", `${index + 1}`),
        element("span", "name", nameOf(row)),
        element("span", "number", score),
        element("span", "add", "+"),
      );
      line.append(pick);
      return line;
    }),
  );
}

function drawAttention(shares, explain) {
  for (const old of document.querySelectorAll(".share")) old.remove();
  $("explain-note").hidden = !explain;
  if (!explain) return;
  if (shares === null) {
    $("explain-note").textContent = "There is nothing to attend to yet.";
    return;
  }
  const largest = Math.max(...shares.map((share) => share ?? 0), 1e-9);
  const sum = shares.reduce((total, share) => total + (share ?? 0), 0);
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  $("explain-note").textContent =
    `The attention of the place to be filled, averaged over layers and heads: ${percent(sum)} ` +
    `to the history, the rest to itself. It shows where the model looked, not why.`;
  shares.forEach((share, index) => {
    const line = element("span", "share");
    if (share === null) line.append(element("span", "number", "not seen"));
    else {
      const track = element("span", "track");
      const fill = element("span", "fill");
      fill.style.width = `${(100 * share) / largest}%`;
      track.append(fill);
      line.append(track, element("span", "number", percent(share)));
    }
    $("history").children[index]?.querySelector(".name").append(line);
  });
}

$("explain").addEventListener("change", recommend);
$("k").addEventListener("change", recommend);

// Start

drawHistory();
search();
recommend();
const health = await (await fetch("healthz")).json();
$("explain-label").hidden = !health.explains;
$("model").textContent =
  `${health.items.toLocaleString()} items` +
  (health.checkpoint === null ? "." : `, checkpoint ${health.checkpoint.toLocaleString()}.`);
