// Ways through the page, for tests and for those who take pictures of it.

/** Goes to a step of the work. */
export const goTo = (page, step) =>
  page
    .getByRole('navigation', { name: 'Steps' })
    .getByRole('link', { name: new RegExp(`^${step}`) })
    .click();

export const chooseGoal = (page, title) =>
  page
    .locator('.goal')
    .filter({ has: page.getByText(title, { exact: true }) })
    .click();
