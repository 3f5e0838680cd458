/** What the names of this entry's files begin with. */
export const prefix = 'run-';
