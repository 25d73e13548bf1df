"""From a test run to tables beside the papers' figures."""
