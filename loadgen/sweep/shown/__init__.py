"""The parts of what is shown of a sweep: sentences, tables, drawings, facts for programs, and the next commands."""
