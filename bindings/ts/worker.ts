// The engine in a browser's worker: started by spawn.ts.
import { expose } from 'comlink';
import { face } from './engine/face.ts';

expose(face);
