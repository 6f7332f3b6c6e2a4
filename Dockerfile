# How to build, run and stop it: docs/operations/deploy-container.md. The version of Node is package.json's.
FROM node:24.21.0-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# No package needs its install script.
RUN npm ci --omit=dev --ignore-scripts

FROM node:24.21.0-slim
# Docker kills after ten seconds unless told otherwise: what is under way then is given up in order before that, and a
# request that does not arrive is refused before it is given up.
ENV NODE_ENV=production \
    APP_ENV=production \
    HOST=0.0.0.0 \
    PORT=8787 \
    READ_TIMEOUT_MS=7000 \
    SHUTDOWN_TIMEOUT_MS=9000
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY package.json ./
COPY drizzle ./drizzle
COPY src ./src
USER node
EXPOSE 8787
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
    CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.PORT + '/health').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# What npm start runs, as the first process: signals reach it.
CMD ["node", "--max-semi-space-size=8", "--no-parallel-scavenge", "--import", "./src/entry/prepare.js", "src/entry/node.ts"]
