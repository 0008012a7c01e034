package main

// reasons say of figures, by their keys, what they are made of where they miss their goals.
var reasons = map[string]string{}
