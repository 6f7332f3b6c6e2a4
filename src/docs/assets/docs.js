// biome-ignore-all lint: moved as it was
// @ts-nocheck
/**
 * What `/docs` runs in the browser: it reads /openapi.json and makes a section with a form of every operation. Text is
 * only ever set as text, never as HTML.
 */

(async () => {
  const byId = (id) => document.getElementById(id);
  const main = byId('content');

  /** An element with properties (or attributes, where there is no such property) and children. */
  function el(tag, props, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(props || {})) {
      if (name in node) node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.flat().filter((child) => child !== undefined && child !== ''));
    return node;
  }

  let api;
  try {
    const response = await fetch('/openapi.json');
    if (!response.ok) throw new Error(String(response.status));
    api = await response.json();
  } catch (error) {
    main.append(el('p', { role: 'alert' }, 'Failed to load the OpenAPI document: ' + error.message));
    return;
  }

  const resolve = (node) =>
    node && node.$ref
      ? resolve(
          node.$ref
            .slice(2)
            .split('/')
            .reduce((inner, part) => inner[part], api),
        )
      : node;
  const nameOf = (schema) => (schema && schema.$ref ? schema.$ref.split('/').pop() : undefined);

  // The token stays in this tab.
  const token = byId('token');
  token.value = sessionStorage.getItem('token') || '';
  token.addEventListener('input', () => {
    token.value = token.value.trim().replace(/^Bearer\s+/i, '');
    sessionStorage.setItem('token', token.value);
    describeToken();
  });
  byId('access').addEventListener('submit', (event) => event.preventDefault());
  describeToken();

  function describeToken() {
    const who = byId('who');
    who.textContent = '';
    if (!token.value) return;
    try {
      const payload = token.value.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
      const claims = JSON.parse(atob(payload));
      const over = claims.exp && claims.exp * 1000 < Date.now();
      who.textContent = (over ? 'Expired. ' : '') + 'Subject ' + claims.sub + ', scopes: ' + (claims.scope || 'none');
    } catch {
      who.textContent = 'Not a JSON Web Token.';
    }
  }

  document.title = byId('title').textContent = api.info.title + ' ' + api.info.version;
  byId('intro').append(...prose(api.info.description), ' ', el('a', { href: '/openapi.json' }, 'OpenAPI document'));

  /** Text with code between backquotes. */
  function prose(text) {
    return (text || '').split('\x60').map((part, i) => (i % 2 ? el('code', {}, part) : part));
  }

  function typeOf(schema) {
    const name = nameOf(schema);
    if (name) return name;
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
    if (schema.anyOf) return schema.anyOf.map(typeOf).join(' | ');
    if (schema.type === 'array') return 'array of ' + typeOf(schema.items);
    const type = [].concat(schema.type || 'any').join(' | ');
    return schema.format ? type + ' (' + schema.format + ')' : type;
  }

  function limitsOf(schema) {
    const limits = [];
    const between = (low, high, unit) => {
      if (low === undefined && high === undefined) return;
      limits.push(
        [
          low === undefined ? 'up to' : low,
          high === undefined ? 'or more' : low === undefined ? high : 'to ' + high,
          unit,
        ].join(' '),
      );
    };
    between(schema.minimum, schema.maximum, '');
    between(schema.minLength || undefined, schema.maxLength, 'characters');
    between(schema.minItems, schema.maxItems, 'items');
    if (schema.default !== undefined) limits.push('default ' + JSON.stringify(schema.default));
    return limits.join('; ');
  }

  /** The members of an object, each with its type, its limits and, where it is an object too, its own. */
  function members(schema) {
    const object = resolve(schema);
    const rows = Object.entries(object.properties || {}).map(([name, member]) => {
      const inner = resolve(member.items || member);
      const required = (object.required || []).includes(name);
      const limits = limitsOf(member);
      return el(
        'li',
        {},
        el('code', { className: 'name' }, name),
        ' ',
        el('span', { className: 'type' }, typeOf(member)),
        required ? '' : el('span', { className: 'note' }, ' optional'),
        limits ? el('span', { className: 'note' }, ' ' + limits) : '',
        member.description ? el('div', {}, ...prose(member.description)) : '',
        inner.properties ? members(inner) : '',
      );
    });
    return rows.length ? el('ul', { className: 'members' }, rows) : '';
  }

  const exampleOf = (schema) => {
    const whole = resolve(schema);
    if (whole.examples && whole.examples.length) return whole.examples[0];
    if (whole.type === 'array') return [exampleOf(whole.items)];
    if (whole.const !== undefined) return whole.const;
    if (!whole.properties) return whole.type === 'object' ? {} : null;
    return Object.fromEntries(Object.entries(whole.properties).map(([name, member]) => [name, exampleOf(member)]));
  };

  const pretty = (value) => JSON.stringify(value, null, 2);

  function schemaBlock(title, schema) {
    const name = nameOf(schema);
    const list = members(schema);
    return [
      el('h4', {}, title + (name ? ': ' + name : '')),
      list,
      list
        ? el(
            'details',
            { className: 'example' },
            el('summary', {}, 'Example'),
            el('pre', { tabIndex: 0 }, pretty(exampleOf(schema))),
          )
        : '',
    ];
  }

  function responsesTable(operation) {
    const rows = Object.entries(operation.responses).map(([status, reference]) => {
      const response = resolve(reference);
      const content = Object.entries(response.content || {})[0];
      const problems = content && content[1].examples ? Object.keys(content[1].examples) : [];
      return el(
        'tr',
        {},
        el('th', { scope: 'row' }, status),
        el(
          'td',
          {},
          problems.length
            ? problems.flatMap((name, i) => [i ? ', ' : '', el('a', { href: '/problems/' + name }, name)])
            : response.description,
        ),
        el(
          'td',
          {},
          Object.keys(response.headers || {})
            .filter((name) => name !== 'X-Request-Id')
            .join(', '),
        ),
      );
    });
    return el(
      'details',
      { className: 'responses' },
      el('summary', {}, 'Responses'),
      el(
        'div',
        { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: 'Responses' },
        el(
          'table',
          {},
          el(
            'thead',
            {},
            el(
              'tr',
              {},
              ['Status', 'Description', 'Headers'].map((text) => el('th', { scope: 'col' }, text)),
            ),
          ),
          el('tbody', {}, rows),
        ),
      ),
    );
  }

  function field(operationId, parameter) {
    const id = operationId + '-' + parameter.in + '-' + parameter.name;
    const schema = resolve(parameter.schema) || {};
    const input = schema.enum
      ? el(
          'select',
          { id },
          el('option', { value: '' }, ''),
          schema.enum.map((value) => el('option', {}, value)),
        )
      : el('input', { id, required: Boolean(parameter.required), autocomplete: 'off', spellcheck: false });
    const description = parameter.description || schema.description;
    if (description) input.setAttribute('aria-describedby', id + '-about');
    const generate =
      parameter.name === 'Idempotency-Key'
        ? el(
            'button',
            {
              type: 'button',
              onclick: () => {
                input.value = '"' + crypto.randomUUID() + '"';
              },
            },
            'Generate',
          )
        : '';
    const row = el(
      'div',
      { className: 'field' },
      el(
        'label',
        { htmlFor: id },
        el('code', {}, parameter.name),
        el('span', { className: 'note' }, ' ' + parameter.in + (parameter.required ? ', required' : '')),
      ),
      el('div', { className: 'control' }, input, generate),
      description ? el('small', { id: id + '-about' }, ...prose(description)) : '',
    );
    return { parameter, input, row };
  }

  const tracing = new Set(['X-Request-Id', 'traceparent']);

  function form(path, method, operation) {
    const fields = (operation.parameters || [])
      .map(resolve)
      .map((parameter) => field(operation.operationId, parameter));
    const json = operation.requestBody && operation.requestBody.content['application/json'];
    const bodyId = operation.operationId + '-body';
    const body =
      json && el('textarea', { id: bodyId, rows: 8, spellcheck: false, value: pretty(exampleOf(json.schema)) });
    const output = el('div', { className: 'output', role: 'status' });
    const send = el('button', { type: 'submit', className: 'send' }, 'Send');

    function request() {
      let target = path;
      const query = new URLSearchParams();
      const headers = {};
      for (const { parameter, input } of fields) {
        if (input.value === '') continue;
        if (parameter.in === 'path')
          target = target.replace('{' + parameter.name + '}', encodeURIComponent(input.value));
        if (parameter.in === 'query') query.append(parameter.name, input.value);
        if (parameter.in === 'header') headers[parameter.name] = input.value;
      }
      if (operation['x-required-scopes'] && token.value) headers.Authorization = 'Bearer ' + token.value;
      if (body) headers['Content-Type'] = 'application/json';
      return {
        url: target + (query.size ? '?' + query : ''),
        init: { method: method.toUpperCase(), headers, body: body && body.value },
      };
    }

    async function submit(event) {
      event.preventDefault();
      send.disabled = true;
      output.replaceChildren('Sending…');
      try {
        const { url, init } = request();
        const begun = performance.now();
        const response = await fetch(url, init);
        const text = await response.text();
        show(output, url, init, response, text, Math.round(performance.now() - begun));
      } catch (error) {
        output.replaceChildren(el('p', { className: 'status bad' }, 'No response: ' + error.message));
      } finally {
        send.disabled = false;
      }
    }

    return el(
      'form',
      { className: 'try', onsubmit: submit, ariaLabel: 'Try ' + operation.summary },
      fields.filter(({ parameter }) => !tracing.has(parameter.name)).map(({ row }) => row),
      body
        ? el(
            'div',
            { className: 'field' },
            el('label', { htmlFor: bodyId }, 'Body', el('span', { className: 'note' }, ' JSON')),
            body,
          )
        : '',
      el(
        'details',
        { className: 'field' },
        el('summary', {}, 'Tracing headers'),
        fields.filter(({ parameter }) => tracing.has(parameter.name)).map(({ row }) => row),
      ),
      send,
      output,
    );
  }

  function show(output, url, init, response, text, ms) {
    let shown = text;
    try {
      shown = pretty(JSON.parse(text));
    } catch {}
    if (/^\s*<!doctype/i.test(text)) shown = text.slice(0, 2000);
    const headers = [...response.headers].map(([name, value]) => name + ': ' + value).join('\n');
    const status = el(
      'p',
      { className: 'status ' + (response.ok ? 'good' : 'bad') },
      el('strong', {}, String(response.status)),
      ' ' + response.statusText + ' in ' + ms + ' ms',
    );
    const location = response.headers.get('Location');
    const part = (title, content, open) =>
      content ? el('details', { open }, el('summary', {}, title), el('pre', { tabIndex: 0 }, content)) : '';
    output.replaceChildren(
      status,
      ...[
        location ? el('p', {}, 'Created: ', el('code', {}, location)) : '',
        part('Body', shown, true),
        part('Headers', headers, false),
        part('curl command', curl(url, init), false),
      ].filter(Boolean),
    );
  }

  function curl(url, init) {
    const quote = (text) => "'" + text.replace(/'/g, "'\\''") + "'";
    const headers = Object.entries(init.headers).map(
      ([name, value]) =>
        '-H ' + (name === 'Authorization' ? '"Authorization: Bearer $TOKEN"' : quote(name + ': ' + value)),
    );
    const data = init.body ? ['-d ' + quote(init.body)] : [];
    return ['curl -i -X ' + init.method + ' ' + quote(location.origin + url), ...headers, ...data].join(' \\\n  ');
  }

  function section(path, method, operation) {
    const parts = operation.requestBody
      ? schemaBlock('Body', operation.requestBody.content['application/json'].schema)
      : [];
    const success = Object.values(operation.responses)
      .map(resolve)
      .map((response) => response.content && response.content['application/json'])
      .find(Boolean);
    return el(
      'details',
      { className: 'operation', id: operation.operationId },
      el(
        'summary',
        {},
        el('span', { className: 'method ' + method }, method.toUpperCase()),
        ' ',
        el('code', {}, path),
        ' ',
        el('span', { className: 'what' }, operation.summary),
      ),
      el(
        'div',
        { className: 'inside' },
        el('p', {}, ...prose(operation.description)),
        el(
          'div',
          { className: 'columns' },
          el('div', {}, parts, success ? schemaBlock('Response', success.schema) : [], responsesTable(operation)),
          form(path, method, operation),
        ),
      ),
    );
  }

  const tags = new Map(api.tags.map((tag) => [tag.name, { ...tag, operations: [] }]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      tags.get(operation.tags[0]).operations.push([path, method, operation]);
    }
  }
  const contents = [];
  for (const tag of tags.values()) {
    main.append(
      el(
        'section',
        {},
        el('h2', {}, tag.name),
        el('p', {}, ...prose(tag.description)),
        tag.operations.map((each) => section(...each)),
      ),
    );
    contents.push(
      el('h2', {}, tag.name),
      el(
        'ul',
        {},
        tag.operations.map(([, method, operation]) =>
          el('li', {}, el('a', { href: '#' + operation.operationId }, operation.summary)),
        ),
      ),
    );
  }
  const webhooks = Object.entries(api.webhooks || {});
  main.append(
    el(
      'section',
      {},
      el('h2', {}, 'Webhooks'),
      el('p', {}, 'Events that subscribed endpoints receive.'),
      webhooks.map(([name, { post }]) =>
        el(
          'details',
          { className: 'operation', id: post.operationId },
          el('summary', {}, el('span', { className: 'method' }, 'POST'), ' ', el('code', {}, name)),
          el(
            'div',
            { className: 'inside' },
            el('p', {}, ...prose(post.description)),
            schemaBlock('Body', post.requestBody.content['application/json'].schema),
          ),
        ),
      ),
    ),
  );
  contents.push(
    el('h2', {}, 'Webhooks'),
    el(
      'ul',
      {},
      webhooks.map(([name, { post }]) => el('li', {}, el('a', { href: '#' + post.operationId }, name))),
    ),
  );
  byId('toc').append(...contents);

  function openTarget() {
    const target = byId(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.matches('details')) return;
    target.open = true;
    target.scrollIntoView();
    target.querySelector('summary').focus();
  }
  addEventListener('hashchange', openTarget);
  // A link to the current hash fires no hashchange.
  byId('toc').addEventListener('click', (event) => {
    if (event.target.hash === location.hash) openTarget();
  });
  openTarget();
  main.dataset.ready = 'true';
})();
