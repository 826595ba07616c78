// The image's HEALTHCHECK: exit 0 when this container's own /-/healthy answers 2xx. The port is that of
// TIDEMARK_WEB_LISTEN_ADDRESS, else 9090; a port that is given as a flag cannot be seen from here.
const address = process.env.TIDEMARK_WEB_LISTEN_ADDRESS ?? '0.0.0.0:9090';
const port = address.slice(address.lastIndexOf(':') + 1);
try {
  const response = await fetch(`http://127.0.0.1:${port}/-/healthy`, { signal: AbortSignal.timeout(4_000) });
  process.exitCode = response.ok ? 0 : 1;
} catch {
  process.exitCode = 1;
}
