export const projects: Record<string, { title: string; quick?: boolean }>;
