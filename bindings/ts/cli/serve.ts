// The page, out of the package: web/offline-plugin.ts puts it in dist/page, and says there how it is to be served.
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import sirv from 'sirv';
import { messageOf } from '../errors.ts';
import { ZeropointError } from '../node.ts';
import { packageFile } from '../node-threads.ts';
import { endBySignal, interrupted, json, print, WrongCall, warn } from './common.ts';

/** dist/page/served.json: how a build of the page is to be served. */
interface Served {
  /** Sent with everything: threads need some, and others keep the page from reaching any other place. */
  headers: Record<string, string>;
  /** Files of the page that the package has already: their paths in the page, and in dist/. */
  shared: Record<string, string>;
}

interface Options {
  port?: number;
  host: string;
  open?: boolean;
  json?: boolean;
}

/** Tried in turn; what the page keeps belongs to its address, so that the next start should find the same. */
const usualPorts = Array.from({ length: 10 }, (_, i) => 4750 + i);
const free = 0;

const portNumber = (text: string): number => {
  const port = Number(text);
  if (text.trim() === '' || !Number.isInteger(port) || port < 0 || port > 65535)
    throw new InvalidArgumentError('It is not an integer from 0 to 65535.');
  return port;
};

export function serveCommand(): Command {
  return new Command('serve')
    .description('serve the page, and open it in a browser: nothing leaves this machine')
    .optionsGroup('Address:')
    .option(
      '--port <n>',
      `the port; 0 takes any free port (default: ${usualPorts[0]}, or the next free port)`,
      portNumber,
    )
    .option('--host <address>', 'the address to listen at; 0.0.0.0 lets other machines in', '127.0.0.1')
    .optionsGroup('Browser:')
    .option('--open', 'open the page in the browser (default: on a terminal)')
    .option('--no-open', 'only print the address of the page')
    .optionsGroup('Output:')
    .option('--json', 'print the address of the page as JSON, in one line')
    .helpOption('-h, --help', 'this text')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint serve
  $ zeropoint serve --port 8080 --no-open
  $ zeropoint serve --host 0.0.0.0

It serves until Ctrl-C. Other machines get one thread, and no use with the network off: browsers give both only to https
and to addresses of the machine itself.`,
    )
    .action(serve);
}

/** Answers requests for the page and its engine. */
function pageListener(): RequestListener {
  const folder = fileURLToPath(packageFile('page/'));
  const description = `${folder}served.json`;
  if (!existsSync(description))
    throw new ZeropointError('io', `${folder}: the page is not there`, {
      file: folder,
      hint: 'the package has it once it is built: npm run build',
    });
  const { headers, shared }: Served = JSON.parse(readFileSync(description, 'utf8'));
  const page = sirv(folder, { etag: true });
  const engine = sirv(fileURLToPath(packageFile('wasm/')), { etag: true });
  return (request, response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { Allow: 'GET, HEAD' }).end();
      return;
    }
    const [path = ''] = (request.url ?? '').split('?');
    // Files in assets/ are named for their content.
    response.setHeader(
      'Cache-Control',
      path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
    );
    const name = Object.hasOwn(shared, path.slice(1)) ? shared[path.slice(1)] : undefined;
    if (name === undefined) {
      page(request, response);
      return;
    }
    request.url = name.replace(/^wasm/, '');
    engine(request, response);
  };
}

/** Listens at the first port that is free. */
async function listen(server: Server, host: string, ports: readonly number[]): Promise<number> {
  for (const [i, port] of ports.entries()) {
    try {
      server.listen({ host, port });
      await once(server, 'listening');
      return (server.address() as AddressInfo).port;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EADDRINUSE' && i + 1 < ports.length) continue;
      if (code === 'EADDRINUSE')
        throw new ZeropointError(
          'io',
          `port ${port} is taken: name another after --port, or leave --port out`,
        );
      if (code === 'EACCES')
        throw new ZeropointError('io', `port ${port} needs special rights: name a port of 1024 or more`);
      if (code === 'ENOTFOUND' || code === 'EADDRNOTAVAIL')
        throw new WrongCall(`--host ${host}: this machine has no such address`);
      throw new ZeropointError(
        'io',
        `the page cannot be served at ${host}: ${messageOf(error)}`,
        {},
        { cause: error },
      );
    }
  }
  throw new Error('no port was tried');
}

/** Where browsers find the page: the machine's own address first. */
function urlsOf(host: string, port: number): string[] {
  const url = (address: string) => `http://${isIPv6(address) ? `[${address}]` : address}:${port}/`;
  if (host !== '0.0.0.0' && host !== '::') return [url(host)];
  const others = Object.values(networkInterfaces())
    .flat()
    .flatMap((found) => (found && found.family === 'IPv4' && !found.internal ? [found.address] : []));
  return ['127.0.0.1', ...others].map(url);
}

/** Opens the page where there is a browser; the page is served all the same where there is none. */
async function openBrowser(url: string): Promise<void> {
  try {
    const { default: open } = await import('open');
    const browser = await open(url);
    browser.on('error', () => {}); // after it was started: it is the user's
  } catch (error) {
    warn(`no browser could be opened (${messageOf(error)}): open ${url} yourself`);
  }
}

async function serve(options: Options): Promise<void> {
  const { host } = options;
  const server = createServer(pageListener());
  const ports = options.port === undefined ? [...usualPorts, free] : [options.port];
  const port = await listen(server, host, ports);
  const urls = urlsOf(host, port);
  if (options.json) process.stdout.write(json({ url: urls[0], urls, port }, 0));
  else {
    print(`The page is at ${urls.join(' and ')}. Ctrl-C ends it.`);
    if (options.port === undefined && port !== usualPorts[0])
      print(`Port ${usualPorts[0]} is taken. This port does not show what the page kept at another port.`);
  }
  if (options.open ?? (process.stdout.isTTY === true && !options.json)) await openBrowser(urls[0] as string);
  if (!interrupted.aborted) await once(interrupted, 'abort');
  server.close();
  server.closeAllConnections();
  endBySignal();
}
