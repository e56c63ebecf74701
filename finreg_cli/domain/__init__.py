"""Pure code: no I/O, no vendor service, nothing that the stages could not run in a unit test."""
