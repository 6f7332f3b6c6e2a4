/** The style of `/docs`, and of the pages behind problems. */
export const style = `:root {
  color-scheme: light dark;
  --ink: #1c2430; --soft: #5a6675; --paper: #fff; --panel: #f5f7fa; --line: #d8dee6; --accent: #0b5cad;
  --get: #0a6b3d; --post: #0b5cad; --put: #8a5200; --delete: #b3261e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e9f0; --soft: #a0acbb; --paper: #12161c; --panel: #1a2029; --line: #333d4a; --accent: #7db7f5;
    --get: #6fd3a0; --post: #7db7f5; --put: #f0b45e; --delete: #ff9a92;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
a { color: var(--accent); }
code, pre, textarea, input { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 0 0 4px; }
h4 { font-size: 14px; margin: 16px 0 4px; }
p { margin: 0 0 12px; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999px; }
.skip:focus { left: 8px; top: 8px; background: var(--paper); padding: 8px; }
header { padding: 20px 24px 16px; border-bottom: 1px solid var(--line); background: var(--panel); }
header p { max-width: 80ch; }
#access { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 12px; }
#access input { flex: 0 1 420px; }
#who, .note, small, .type { color: var(--soft); font-size: 13px; }
body > nav { position: sticky; top: 0; float: left; width: 270px; max-height: 100vh; overflow: auto; padding: 20px 24px; }
nav h2 { font-size: 13px; margin: 0; color: var(--soft); }
nav ul { list-style: none; margin: 2px 0 14px; padding: 0; }
nav a { display: block; padding: 2px 0; text-decoration: none; }
nav a:hover { text-decoration: underline; }
body > nav + main { margin-left: 270px; padding: 20px 24px 60px; border-left: 1px solid var(--line); min-height: 100vh; }
section { margin-bottom: 32px; }
.operation { border: 1px solid var(--line); border-radius: 6px; margin: 8px 0; background: var(--panel); }
.operation > summary { padding: 9px 12px; cursor: pointer; }
.operation > summary > code { font-size: 14px; }
.what { color: var(--soft); margin-left: 8px; }
.inside { padding: 12px 16px 16px; border-top: 1px solid var(--line); background: var(--paper); border-radius: 0 0 6px 6px; }
.columns { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 16px 28px; align-items: start; }
.columns > div > h4:first-child { margin-top: 0; }
.method { display: inline-block; min-width: 58px; font: 700 12px ui-monospace, monospace; color: var(--soft); }
.get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); } .delete { color: var(--delete); }
.members { list-style: none; margin: 4px 0; padding: 0 0 0 12px; border-left: 2px solid var(--line); }
.members li { margin: 3px 0; }
.name { font-weight: 600; }
summary { cursor: pointer; }
pre { margin: 6px 0; padding: 10px; overflow: auto; max-height: 420px; background: var(--panel); border: 1px solid var(--line); border-radius: 4px; white-space: pre-wrap; overflow-wrap: anywhere; }
.example, .responses { margin-top: 8px; }
.scroll { overflow: auto; }
table { border-collapse: collapse; margin: 6px 0; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); }
.try { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 14px; }
.field { margin-bottom: 12px; }
.field label, .field small { display: block; }
.control { display: flex; gap: 8px; }
input, select, textarea { width: 100%; padding: 6px 8px; color: inherit; background: var(--paper); border: 1px solid var(--soft); border-radius: 4px; }
button { padding: 6px 12px; font: inherit; color: var(--accent); background: var(--paper); border: 1px solid var(--accent); border-radius: 4px; cursor: pointer; }
.send { color: var(--paper); background: var(--accent); font-weight: 600; }
button:disabled { opacity: 0.6; }
.output { margin-top: 10px; }
.status.good strong { color: var(--get); }
.status.bad, .status.bad strong { color: var(--delete); }
.problem { max-width: 70ch; margin: 0 auto; padding: 32px 24px; }
.problem h2 { margin-top: 24px; }
@media (max-width: 900px) {
  body > nav { position: static; float: none; width: auto; max-height: none; border-bottom: 1px solid var(--line); }
  body > nav + main { margin-left: 0; border-left: 0; padding: 16px; }
  .columns { grid-template-columns: minmax(0, 1fr); }
}
`;
