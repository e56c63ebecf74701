"""What differs from task to task: prompts, rules, message format, grading."""
