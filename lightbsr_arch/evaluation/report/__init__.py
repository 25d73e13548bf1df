"""`basicsr report`: one HTML page, without anything outside it, of what tests and trainings left in their folders."""
