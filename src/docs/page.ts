/** The HTML of `/docs`. `assets/docs.js` fills it from the OpenAPI document. */
export const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>API reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/docs.css">
<script src="/assets/docs.js" defer></script>
</head>
<body>
<a class="skip" href="#content">Skip to the operations</a>
<header>
<h1 id="title">API reference</h1>
<p id="intro"></p>
<form id="access">
<label for="token">Bearer token</label>
<input id="token" type="password" autocomplete="off" spellcheck="false" placeholder="Paste a token to try operations">
<span id="who" role="status"></span>
</form>
</header>
<nav id="toc" aria-label="Operations"></nav>
<main id="content" tabindex="-1">
<noscript><p>This page requires JavaScript. Without it, read the OpenAPI document:
<a href="/openapi.json">/openapi.json</a>.</p></noscript>
</main>
</body>
</html>
`;
