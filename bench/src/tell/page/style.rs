//! How the page looks, by day and by night, on a screen and on a phone.

pub(super) const SHEET: &str = "
:root { color-scheme: light dark; --ink: #1c1e21; --dim: #5d636b; --line: #d9dce0; --paper: #ffffff;
  --card: #f6f7f8; --good: #00734f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --dim: #a2a9b1; --line: #3a3e44;
  --paper: #141618; --card: #1d2023; --good: #4cc79a; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
.what, .note, .verdict, .good, .bad, h2, .words td { overflow-wrap: anywhere; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.6rem; margin: 0 0 1rem; }
h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 2rem 0 .5rem; }
.run { border-top: 1px solid var(--line); padding-top: 1.5rem; margin-top: 2.5rem; }
.what, .note, figcaption { color: var(--dim); font-size: .9rem; }
.verdict { background: var(--card); border-left: 4px solid #0072b2; border-radius: 4px;
  padding: .75rem 1rem; margin: 1rem 0; }
.verdict p { margin: 0 0 .5rem; font-weight: 600; }
.verdict ul { margin: 0; padding-left: 1.1rem; font-size: .9rem; }
.bad { color: var(--bad); font-weight: 600; }
.good { color: var(--good); }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 8px; margin: 1rem 0; }
.figures div { background: var(--card); border-radius: 4px; padding: .5rem .75rem; }
.figures b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.figures span { color: var(--dim); font-size: .8rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 460px), 1fr)); gap: 16px; }
figure { margin: 0; min-width: 0; }
.key { margin-left: 1em; white-space: nowrap; }
.key i { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .35em; }
.plot svg { display: block; width: 100%; min-width: 420px; height: auto; color: var(--ink); }
.plot svg text { fill: var(--dim); }
.plot svg [stroke='#000000'] { stroke: currentColor; }
.plot svg [fill='#000000'] { fill: currentColor; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; margin: .5rem 0; }
th, td { padding: .25rem .75rem .25rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 500; }
.words td:last-child { white-space: normal; min-width: 18em; }
thead th { color: var(--dim); font-weight: 500; }
.words td, .words th { text-align: left; }
details { margin: .5rem 0; font-size: .9rem; }
summary { cursor: pointer; color: var(--dim); }
.bar { display: flex; height: 26px; border-radius: 4px; overflow: hidden; margin: .25rem 0 .75rem; background: var(--card); }
.bar i { display: block; min-width: 0; }
iframe { width: 100%; border: 1px solid var(--line); border-radius: 4px; background: #fff; }
";
