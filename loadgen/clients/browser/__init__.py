"""Pages in real browsers (`user.browser`): the Chromium of a worker, the rows of pages, their web vitals."""
