import { app } from '../app.ts';
import { type Deps, noMetrics } from '../deps.ts';
import { loadedAssets } from '../platform/assets-loaded.ts';
import { ASSETS } from './assets.ts';

/** The part of an OpenAPI 3.1 schema that this service's own document uses. */
export type Schema = {
  $ref?: string;
  type?: string | string[];
  const?: unknown;
  enum?: unknown[];
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  required?: string[];
  additionalProperties?: Schema | boolean;
  description?: string;
};
export type Parameter = {
  $ref?: string;
  name: string;
  in: string;
  required?: boolean;
  schema: Schema;
  description?: string;
};
type Content = { content?: Record<string, { schema: Schema }> };
export type Operation = {
  operationId: string;
  summary: string;
  tags: string[];
  parameters?: Parameter[];
  requestBody?: Content;
  responses: Record<string, Content>;
};
export type OpenApiDocument = {
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; parameters?: Record<string, Parameter> };
};

/** The dependencies that the document needs: no database, no configuration. */
const deps: Partial<Deps> = {
  settings: { production: false, requestTimeoutMs: 60_000, bodyLimitBytes: 0, corsOrigins: [] },
  now: () => new Date(),
  limiter: { limit: 0, window: 0, take: async () => ({ allowed: true }) },
  assets: loadedAssets(ASSETS),
  log: { debug() {}, info() {}, warn() {}, error: (message, fields) => console.error(message, fields?.error) },
  metrics: noMetrics,
  inFlight: { count: 0 },
  draining: () => false,
  clientAddress: '127.0.0.1',
};

/** Returns the document that the service serves at `GET /openapi.json`. */
export async function readDocument(): Promise<OpenApiDocument> {
  const response = await app.request('/openapi.json', {}, deps as Deps);
  if (!response.ok) throw new Error(`GET /openapi.json: HTTP ${response.status}`);
  return (await response.json()) as OpenApiDocument;
}
