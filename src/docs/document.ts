import type { OpenAPIHono } from '@hono/zod-openapi';
import * as z from 'zod';
import type { Env } from '../http/context.ts';
import { parametersOf, registerShared } from '../http/openapi.ts';
import { UserView } from '../users/schema.ts';

const info = {
  title: 'Keelson',
  version: '1.0.0',
  description:
    'Users, the endpoints that are told of what becomes of them, and the notifications that tell. Every error is a ' +
    'problem of RFC 9457 whose `type` leads to a page that says what to do.',
  license: { name: 'MIT', identifier: 'MIT' },
  contact: { name: 'Whoever operates this service' },
};

// By the path that an operation is under.
const tags: Record<string, { name: string; description: string }> = {
  '/api/v1/users': { name: 'Users', description: 'Who is told. Emails are unique without regard to case.' },
  '/api/v1/webhook-endpoints': {
    name: 'Webhook endpoints',
    description: 'Where events are sent, signed as Standard Webhooks 1.0.0 has it.',
  },
  '/api/v1/notifications': {
    name: 'Notifications',
    description: 'What was told to whom, or will be: at least once, and never lost.',
  },
  '': { name: 'System', description: 'Health, readiness, and what describes this service. Asks for no token.' },
};

type Operation = {
  tags?: string[];
  parameters?: object[];
  description?: string;
  security?: Record<string, string[]>[];
};

/** The OpenAPI 3.1 document of an app whose every route has been declared. */
export function documentOf(app: Pick<OpenAPIHono<Env>, 'openAPIRegistry' | 'getOpenAPI31Document'>) {
  registerShared(app.openAPIRegistry);
  for (const [event, description] of Object.entries(userEvents)) {
    app.openAPIRegistry.registerWebhook(webhook(event, description, UserView));
  }
  app.openAPIRegistry.registerWebhook(webhook('webhook.test', 'Someone asked for it.', TestData));
  const document = app.getOpenAPI31Document({
    openapi: '3.1.1',
    info,
    servers: [{ url: '/', description: 'This service' }],
    tags: Object.values(tags),
  });
  for (const [path, item] of Object.entries(document.paths ?? {})) {
    for (const operation of Object.values(item) as Operation[]) complete(path, operation);
  }
  return document;
}

// What goes without saying in every route.
function complete(path: string, operation: Operation): void {
  const prefix = Object.keys(tags).find((each) => path.startsWith(each)) as string;
  operation.tags = [tags[prefix]?.name as string];
  operation.parameters ??= [];
  operation.parameters.push(...parametersOf('X-Request-Id', 'traceparent'));
  // OpenAPI 3.1 permits scopes of a bearer scheme, but not every tool that reads it does.
  for (const scheme of operation.security ?? []) {
    const scopes = scheme.bearer?.splice(0) ?? [];
    Object.assign(operation, { 'x-required-scopes': scopes });
    operation.description += ` Needs the scope \`${scopes.join(' ')}\`.`;
  }
}

const userEvents = {
  'user.created': 'A user was created.',
  'user.updated': 'A user was changed.',
  'user.deleted': 'A user was deleted; the data is the user as it last was.',
};

const TestData = z.object({ endpointId: z.uuid() });

const webhookHeaders = z.object({
  'webhook-id': z.uuid().meta({ description: 'The notification; a repeat carries the same.' }),
  'webhook-timestamp': z.string().regex(/^\d+$/).meta({ description: 'Seconds since 1970, of this attempt.' }),
  'webhook-signature': z.string().meta({ description: 'One or more of v1,<base64>, separated by spaces.' }),
});

function webhook(event: string, description: string, data: z.ZodType) {
  const id = event.replace(/(?:^|\.)([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const payload = z.object({ type: z.literal(event), timestamp: z.iso.datetime({ precision: 3 }), data });
  return {
    method: 'post' as const,
    path: event,
    operationId: `on${id}`,
    summary: event,
    description: `${description} Sent to every endpoint that subscribed to it; repeated until it is taken.`,
    tags: ['Webhook endpoints'],
    security: [],
    request: {
      headers: webhookHeaders,
      body: { required: true, content: { 'application/json': { schema: payload.meta({ id: `${id}Event` }) } } },
    },
    responses: {
      '2XX': { description: 'Taken' },
      410: { description: 'Not wanted any more: the endpoint is disabled' },
      '4XX': { description: 'Not taken: tried again later' },
    },
  };
}
