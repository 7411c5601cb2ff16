"""What sharing one base among tasks costs and saves, measured."""
