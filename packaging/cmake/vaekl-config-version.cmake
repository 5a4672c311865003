# The version is that of the header beside which this was installed. A request is met by a
# version that is not older and shares its major version, or while that is 0, its minor
# version too, where it has one.
get_filename_component(_vaekl_at "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
while(NOT EXISTS "${_vaekl_at}/include/vaekl.h")
  get_filename_component(_vaekl_above "${_vaekl_at}" DIRECTORY)
  if(_vaekl_above STREQUAL _vaekl_at)
    return()
  endif()
  set(_vaekl_at "${_vaekl_above}")
endwhile()
foreach(_vaekl_part MAJOR MINOR PATCH)
  file(STRINGS "${_vaekl_at}/include/vaekl.h" _vaekl_line
    REGEX "#define VAEKL_VERSION_${_vaekl_part} ")
  string(REGEX REPLACE ".* " "" _vaekl_${_vaekl_part} "${_vaekl_line}")
endforeach()
set(PACKAGE_VERSION "${_vaekl_MAJOR}.${_vaekl_MINOR}.${_vaekl_PATCH}")

set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(NOT PACKAGE_FIND_VERSION VERSION_GREATER PACKAGE_VERSION
    AND PACKAGE_FIND_VERSION_MAJOR EQUAL _vaekl_MAJOR)
  if(_vaekl_MAJOR GREATER 0 OR PACKAGE_FIND_VERSION_COUNT EQUAL 1
      OR PACKAGE_FIND_VERSION_MINOR EQUAL _vaekl_MINOR)
    set(PACKAGE_VERSION_COMPATIBLE TRUE)
  endif()
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
