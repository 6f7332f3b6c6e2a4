import { html } from 'hono/html';
import type { ErrorCode } from '../errors.ts';
import { problems } from './problem.ts';
import { exampleOf, problemTexts } from './problem-texts.ts';

/** The page that a problem's `type` links to, in HTML without scripts. Undefined for an unknown name. */
export function problemPage(name: string) {
  if (!Object.hasOwn(problems, name)) return undefined;
  const code = name as ErrorCode;
  const { status, title } = problems[code];
  const { meaning, remedy } = problemTexts[code];
  const example = JSON.stringify(exampleOf(code), null, 2);
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
