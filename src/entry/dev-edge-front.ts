type Bindings = { API: Fetcher; DISPATCHER: { sweep(): Promise<void> } };

/** The Worker in front of the other two in `npm run dev:edge`: wrangler can fire a cron trigger only at the first. */
export default {
  fetch: (request, { API }) => API.fetch(request),
  scheduled: (_, { DISPATCHER }) => DISPATCHER.sweep(),
} satisfies ExportedHandler<Bindings>;
