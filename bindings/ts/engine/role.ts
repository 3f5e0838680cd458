// The role of one of the package's threads: the engine, or one of the threads that the engine computes with. Both are started
// with the same script, so that bundlers have to find one worker only.
import { type Endpoint, expose } from 'comlink';
import type { Build, Glue } from '../builds.ts';
import { faceOf, type Opener } from './face.ts';

/** The first message to a thread. */
export type Role = { role: 'engine' } | { role: 'helper'; build: Build };

/** For messages that cannot be read: whoever waits for an answer must hear of it, as of any error that nobody catches. */
export function refuse(): never {
  throw new Error('a message could not be read');
}

/** Waits for the first message. `glue`, `openHost`: of the package's entry. A helper's further messages come to `onmessage` of the global object. */
export function takeRole(endpoint: Endpoint, glue: Glue, openHost: Opener): void {
  const begin = (event: unknown) => {
    endpoint.removeEventListener('message', begin as never);
    const role = (event as { data: Role }).data;
    if (role.role === 'engine') expose(faceOf(openHost), endpoint);
    else void glue[role.build]?.({ isThread: true });
  };
  endpoint.addEventListener('message', begin as never);
  endpoint.start?.();
}
