import type * as z from 'zod';
import type { ErrorCode } from '../errors.ts';

/** Made when it is first asked for: see `lazy`. */
export type Schema = () => z.ZodType;

/** What a client is told when a write violates a constraint of the database: 409, or 422 for a parent that is missing. */
export type Constraint = {
  detail: string;
  /** `conflict` unless given. */
  code?: ErrorCode;
  /** The member of the body that has to change. */
  pointer?: string;
  /** Of a foreign key: the resource that it refers to, by name. */
  parent?: string;
};

/** What a resource is. Its operations, tag, scopes, events and problems in the OpenAPI document follow from it. */
export type Resource = {
  /** What its view and its operations are called, such as `WebhookEndpoint`; `plural` where that is not `name` and s. */
  name: string;
  plural?: string;
  description: string;
  scopes: { read: string; write: string };
  view: Schema;
  /** What subscribed endpoints are sent, by type. `data` is the view unless given. */
  events?: Record<string, { description: string; data?: Schema }>;
  /** By the name that Postgres knows them under. */
  constraints?: Record<string, Constraint>;
};

/** `WebhookEndpoints` */
export const pluralOf = ({ name, plural }: Resource): string => plural ?? `${name}s`;
/** `webhook endpoints` */
export const words = (name: string): string => name.replace(/(?<=.)[A-Z]/g, ' $&').toLowerCase();
/** `a webhook endpoint` */
export const one = ({ name }: Resource): string => `${/^[AEIO]/.test(name) ? 'an' : 'a'} ${words(name)}`;
