// @ts-check
// What /docs runs: Swagger UI, on the OpenAPI document of this service.

const root = /** @type {HTMLElement} */ (document.getElementById('docs'));
const { token } = root.dataset;
document.documentElement.classList.toggle('dark-mode', matchMedia('(prefers-color-scheme: dark)').matches);

const response = await fetch('/openapi.json');
if (response.ok) show(await response.json());
else root.textContent = `The OpenAPI document cannot be loaded: HTTP ${response.status}.`;

/** @param {any} spec */
function show(spec) {
  document.title = `${spec.info.title} ${spec.info.version}`;
  // Examples would be filled in and sent: the same idempotency key each time, or an ETag that matches.
  for (const parameter of Object.values(spec.components.parameters)) delete parameter.example;
  const { SwaggerUIBundle } = /** @type {any} */ (window);
  const ui = SwaggerUIBundle({
    spec,
    domNode: root,
    deepLinking: true,
    tryItOutEnabled: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    onComplete() {
      if (token) ui.preauthorizeApiKey('bearer', token);
      root.dataset.ready = 'true';
    },
  });
}
