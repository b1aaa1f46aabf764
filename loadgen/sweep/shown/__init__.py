"""The parts of a shown sweep: sentences, tables, drawings, facts for programs, and the next commands."""
