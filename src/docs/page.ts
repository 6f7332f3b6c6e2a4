/** The HTML of `/docs`. `assets/docs.js` fills it. `token` is filled in for readers who try the API. */
export const page = (token = '') => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>API reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/assets/swagger-ui.css">
<link rel="stylesheet" href="/assets/docs.css">
<script src="/assets/swagger-ui.js" defer></script>
<script src="/assets/docs.js" type="module"></script>
</head>
<body>
<nav><a href="/openapi.json">OpenAPI document</a></nav>
<main id="docs" data-token="${token}">
<noscript><p>This page requires JavaScript. Without it, read the OpenAPI document.</p></noscript>
</main>
</body>
</html>
`;
