package hear

// withRestorer is a flag that the kernel wants here, or none.
const withRestorer = 0
