import { html } from 'hono/html';
import type { ErrorCode } from '../errors.ts';
import { problems } from './problem.ts';

/** The page behind a problem's `type`: plain HTML that needs no script. Undefined for a name that is none. */
export function problemPage(name: string) {
  const problem = Object.hasOwn(problems, name) ? problems[name as ErrorCode] : undefined;
  if (!problem) return undefined;
  const { status, title, meaning, remedy } = problem;
  const example = { type: `/problems/${name}`, title, status, detail: '…', instance: '/api/v1/…', requestId: '…' };
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title></head>
<body>
<h1>${status} ${title}</h1>
<h2>What it means</h2>
<p>${meaning}</p>
<h2>What to do</h2>
<p>${remedy}</p>
<h2>Example</h2>
<pre>${JSON.stringify(example, null, 2)}</pre>
</body>
</html>
`;
}
