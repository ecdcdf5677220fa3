// Asking the server, and saying what went wrong.

// Calls of one kind replace each other: only the newest one's answer is shown.
export function newest() {
  let running = null;
  return async (url, options) => {
    running?.abort();
    const mine = (running = new AbortController());
    for (let tries = 0; ; tries++) {
      try {
        const response = await fetch(url, { ...options, signal: mine.signal });
        if (response.status === 503 && tries < 3) {
          await new Promise((done) => setTimeout(done, 1000));
          if (mine.signal.aborted) return null;
          continue;
        }
        const unread = { detail: `The server answered ${response.status}.` };
        const body = await response.json().catch(() => unread); // a proxy's error is no JSON
        if (mine.signal.aborted) return null;
        if (!response.ok) throw new Error(body.detail);
        problem(null);
        return body;
      } catch (error) {
        if (mine.signal.aborted) return null;
        const unreachable = error instanceof TypeError;
        problem(unreachable ? "The server cannot be reached." : error.message);
        return null;
      }
    }
  };
}

function problem(text) {
  const line = document.getElementById("problem");
  line.hidden = text === null;
  line.textContent = text ?? "";
}
