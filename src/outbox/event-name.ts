import * as z from 'zod';

/** What an event is called: lower-case words joined by dots, such as `invoice.paid`. */
export const eventName = z
  .string()
  .max(100, 'must be at most 100 characters')
  .regex(/^[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)*$/, 'must be lower-case words joined by dots, such as invoice.paid');
