import { html } from 'hono/html';
import type { ErrorCode } from '../errors.ts';
import { exampleOf, problems } from './problem.ts';

/** The page that a problem's `type` links to, in HTML without scripts. Undefined for an unknown name. */
export function problemPage(name: string) {
  const problem = Object.hasOwn(problems, name) ? problems[name as ErrorCode] : undefined;
  if (!problem) return undefined;
  const { status, title, meaning, remedy } = problem;
  const example = JSON.stringify(exampleOf(name as ErrorCode), null, 2);
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${status} ${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/problem.css">
</head>
<body>
<main>
<h1>${status} ${title}</h1>
<h2>What it means</h2>
<p>${meaning}</p>
<h2>What to do</h2>
<p>${remedy}</p>
<h2>Example</h2>
<pre tabindex="0">${example}</pre>
<p><a href="/docs">API reference</a></p>
</main>
</body>
</html>
`;
}
