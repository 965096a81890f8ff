//! Nothing: the tests of this package are what it is for. Of the packages here it alone may have `unsafe` code, since a fork is that.
