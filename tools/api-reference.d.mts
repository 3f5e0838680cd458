export interface Declaration {
  kind: string;
  name: string;
  comment: string;
  code: string;
  overloads: { comment: string; code: string }[];
}
export function exportedDeclarations(): Declaration[];
export function membersOf(declaration: Declaration): { comment: string; code: string }[];
export function referenceFiles(): Record<string, string>;
