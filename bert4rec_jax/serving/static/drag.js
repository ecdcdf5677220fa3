// Dragging a line of a list to another place.

// Called at pointerdown on a line's grip; onDrop(from, to) when it is let go. Pointer events, because
// drag and drop of HTML knows no fingers.
export function drag(event, line, onDrop) {
  if (event.button !== 0) return;
  event.preventDefault();
  const grip = event.currentTarget;
  grip.setPointerCapture(event.pointerId);
  const lines = [...line.parentElement.children];
  const from = lines.indexOf(line);
  const middles = lines.map((other) => {
    const box = other.getBoundingClientRect();
    return box.top + box.height / 2;
  });
  const height = line.getBoundingClientRect().height;
  let to = from;
  line.classList.add("dragged");

  function onMove(moved) {
    const offset = moved.clientY - event.clientY;
    const middle = middles[from] + offset;
    to = from;
    while (to + 1 < lines.length && middle > middles[to + 1]) to++;
    while (to > 0 && middle < middles[to - 1]) to--;
    line.style.transform = `translateY(${offset}px)`;
    lines.forEach((other, place) => {
      if (other === line) return;
      const makesRoom = place > from && place <= to ? -1 : place < from && place >= to ? 1 : 0;
      other.style.transform = makesRoom ? `translateY(${makesRoom * height}px)` : "";
    });
  }

  function onEnd(ended) {
    grip.removeEventListener("pointermove", onMove);
    grip.removeEventListener("pointerup", onEnd);
    grip.removeEventListener("pointercancel", onEnd);
    line.classList.remove("dragged");
    for (const other of lines) other.style.transform = "";
    if (ended.type === "pointerup") onDrop(from, to);
  }

  grip.addEventListener("pointermove", onMove);
  grip.addEventListener("pointerup", onEnd);
  grip.addEventListener("pointercancel", onEnd);
}
