//! How the page looks, on light and on dark ground.

pub const CSS: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1c2430;--faint:#dde2ea;--good:#15803d;--bad:#b91c1c}\
@media(prefers-color-scheme:dark){:root{--ground:#10141b;--ink:#d5dae3;--faint:#2f3846;--good:#5fd38a;--bad:#ff8f8f}}\
body{background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem}\
h1,h2{line-height:1.2;text-wrap:balance}h2{margin-top:3rem;border-top:1px solid var(--faint);padding-top:1rem}\
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}\
.wide{overflow-x:auto;margin:.5rem 0 1rem}\
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid var(--faint);white-space:nowrap}\
th{font-weight:600}th:first-child,td:first-child,.words{text-align:left}.words{white-space:normal;min-width:14rem}\
.good{color:var(--good)}.bad{color:var(--bad)}\
summary{cursor:pointer;padding:.2rem 0}svg.bc-figure{max-width:100%;height:auto;display:block;margin:1rem 0}\
@media print{details{display:block}}";
