"""The page at ``/``: asks for a task's id and follows it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from starlette.responses import HTMLResponse

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["index"]

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Cifra Jobs</title>
<style nonce="NONCE">
  :root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
  body { max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
  form { display: flex; gap: .5rem }
  input { flex: 1; font: inherit; padding: .4rem }
  button { font: inherit; padding: .4rem 1rem }
  progress { width: 100%; margin: 1rem 0 }
  pre { overflow: auto; padding: 1rem; border: 1px solid #8886; border-radius: .4rem }
</style>
<h1>Cifra Jobs</h1>
<form><label for="id" hidden>Task id</label>
<input id="id" name="id" placeholder="id of a task" required autofocus>
<button>Follow</button></form>
<progress max="100" value="0" aria-label="progress"></progress>
<p id="line" role="status"></p>
<pre id="status" hidden></pre>
<script nonce="NONCE">
  const at = name => document.getElementById(name);
  let source;
  document.querySelector("form").addEventListener("submit", async event => {
    event.preventDefault();
    source?.close();
    const url = "api/tasks/" + encodeURIComponent(at("id").value.trim());
    const answer = await fetch(url);
    show(await answer.json());
    if (!answer.ok) return;
    source = new EventSource(url + "/events");
    source.onmessage = message => {
      const task = JSON.parse(message.data);
      show(task);
      if (task.is_terminal) source.close();
    };
  });
  function show(task) {
    document.querySelector("progress").value = task.progress ?? 0;
    at("line").textContent = [task.state, task.message ?? task.error].filter(Boolean).join(": ");
    at("status").textContent = JSON.stringify(task, null, 2);
    at("status").hidden = false;
  }
</script>
</html>
"""


async def index(_request: Request) -> Response:
    """``GET /``: a plain page, until the dashboard stands here."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; connect-src 'self'; script-src 'nonce-{nonce}'; "
        f"style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
    )
    return HTMLResponse(_PAGE.replace("NONCE", nonce), headers={"Content-Security-Policy": policy})
